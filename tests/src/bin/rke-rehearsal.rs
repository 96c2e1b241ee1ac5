//! The door of the rehearsal of rke; everything is in `cratekube_tests::rehearsal`.

use std::process::ExitCode;

use cratekube_tests::rehearsal;

fn main() -> ExitCode {
    let start_ns = rehearsal::clock::now_ns();
    let argv: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    ExitCode::from(rehearsal::run(&argv, start_ns))
}
