//! The door of the clusters' API, for a quickstart that is left running: `cluster-api <fleet> <note>`.
//! It writes its address to the note.

fn main() -> std::process::ExitCode {
    cratekube_tests::cluster_api::main()
}
