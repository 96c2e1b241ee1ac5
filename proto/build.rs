//! Compiles the protocol without a system `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["proto/cratekube/agent/v1/agent.proto"], ["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .bytes(".cratekube.agent.v1.OutputChunk.data")
        // They hold secrets; `src/shown.rs` prints them without.
        .skip_debug([
            ".cratekube.agent.v1.EnrollRequest",
            ".cratekube.agent.v1.Assignment",
            ".cratekube.agent.v1.Answer",
            ".cratekube.agent.v1.Answer.outcome",
        ])
        .compile_fds(files)?;
    Ok(())
}
