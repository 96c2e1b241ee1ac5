//! The door of the command line client, built beside the tests so that they can start it.

fn main() -> std::process::ExitCode {
    cratekube_controller::client::main()
}
