//! The agent's door.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    cratekube_agent::cli::main(std::env::args_os(), &mut io::stdout(), &mut io::stderr())
}
