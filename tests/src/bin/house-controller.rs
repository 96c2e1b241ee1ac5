//! The controller's door, built beside the tests so that they can start it.

fn main() -> std::process::ExitCode {
    cratekube_controller::cli::main()
}
