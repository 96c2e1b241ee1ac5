//! The door of the command line client.

fn main() -> std::process::ExitCode {
    cratekube_controller::client::main()
}
