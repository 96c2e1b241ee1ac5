//! The command line: what can be asked of the agent, and what it answers.
//!
//! Exit codes: 0 done, 1 not done (with a sentence why), 2 not understood. Everything for people goes to
//! the writers that [`main`] is given; logs go to standard error.

mod args;
mod commands;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

pub use args::{Cli, Command, EnrollArgs};
pub use commands::CliError;

/// Exit code for what was not understood.
const USAGE: u8 = 2;

/// Does what the command line says.
pub fn main(args: impl IntoIterator<Item = OsString>, out: &mut (impl Write + Send), err: &mut impl Write) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    // Before anything else: a supervisor is started for every run, and lives as long as it.
    if let [_, word, run_dir] = args.as_slice()
        && word == "supervise"
    {
        return commands::supervise(Path::new(run_dir));
    }
    match Cli::try_parse_from(args) {
        Ok(cli) => match commands::run(cli, out, err) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                let _nobody_listens = writeln!(err, "error: {error}");
                ExitCode::FAILURE
            }
        },
        Err(usage) => {
            let text = usage.render();
            let _nobody_listens = if usage.use_stderr() { write!(err, "{text}") } else { write!(out, "{text}") };
            if usage.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
        }
    }
}
