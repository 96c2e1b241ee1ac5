//! The quickstart's door; `deploy/quickstart` builds and starts it.

fn main() -> std::process::ExitCode {
    cratekube_tests::quickstart::main()
}
