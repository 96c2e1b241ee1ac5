//! The benches' door: `cargo run --release -p cratekube-tests --bin bench -- [post|start|output|redact|idle|adopt|kills]…`.

fn main() -> std::process::ExitCode {
    cratekube_tests::bench::main()
}
