//! `cratekube`: the API from a shell.
//!
//! A command becomes requests ([`run`]), requests go over TLS with the stored credential ([`api`],
//! [`http`]), answers become tables or documents ([`show`]), and the outcome becomes an exit code
//! ([`exit`]). Work that takes long is followed as events ([`follow`]) and drawn ([`screen`]).
//!
//! Invariants: it talks REST and reads JSON documents, and uses nothing of the controller's other
//! rooms; a secret is never on the command line and never printed; what changes something is sent
//! again only where the API promises that this is harmless; results go to standard output and
//! everything else to standard error.

mod address;
mod api;
mod args;
mod console;
mod credential;
mod document;
mod exit;
mod fault;
mod follow;
mod http;
mod problem;
mod profile;
mod run;
mod screen;
mod settings;
mod show;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser as _;
use cratekube_common::runtime::clock;
use cratekube_common::runtime::mint::Mint;

use args::Cli;
use console::Console;
use exit::Exit;
use run::Command;
use settings::Surroundings;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // clap ends the process itself for `--help` (0) and for what it cannot read (2).
    let cli = Cli::parse();
    let console = Console::system();
    let clock = clock::system();
    let command = Command {
        surroundings: Surroundings::system(),
        console: console.clone(),
        mint: Mint::system(clock.clone()),
        clock,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(command.run(cli))).unwrap_or_else(|fault| {
            console.fault(&fault);
            fault.exit()
        }),
        Err(error) => {
            console.note(&format!("error: cannot start: {error}"));
            Exit::Unavailable
        }
    };
    ExitCode::from(exit.code())
}
