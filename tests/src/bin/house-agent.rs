//! The agent's door, built beside the tests so that they can start it.

fn main() -> std::process::ExitCode {
    cratekube_agent::cli::main(std::env::args_os(), &mut std::io::stdout(), &mut std::io::stderr())
}
