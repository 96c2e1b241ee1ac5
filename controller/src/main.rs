//! The controller's door.

fn main() -> std::process::ExitCode {
    cratekube_controller::cli::main()
}
