//! The fuzzer's door: `cargo run --release -p cratekube-tests --bin fuzz -- [target|all] [executions] [seed]`.

fn main() -> std::process::ExitCode {
    cratekube_tests::fuzz::main()
}
