//! The harness: a world of real processes that a test can talk to, cut off and kill.
//!
//! Nothing here sleeps. A test waits for what a process prints, for its end, or for an answer of the
//! API that is given when something happened (`?wait=`, server-sent events).

pub mod aftermath;
pub mod agent;
pub mod browser;
pub mod controller;
pub mod gate;
pub mod indoors;
pub mod kills;
pub mod link;
pub mod machine;
pub mod process;
pub mod puppet;
pub mod rest;
pub mod scrape;
pub mod search;
pub mod shell;
pub mod specs;
pub mod sshd;
pub mod world;

pub use gate::Gate;
pub use process::Process;
pub use rest::{Answer, Client, Events};
pub use shell::Shell;
pub use world::{Setup, World};

/// Where the programs are that a test starts; see `programs!`.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `house-controller`.
    pub controller: std::path::PathBuf,
    /// `house-agent`.
    pub agent: std::path::PathBuf,
    /// `rke-rehearsal`.
    pub rke: std::path::PathBuf,
}

/// The programs of this package, from an integration test or bench of it.
#[macro_export]
macro_rules! programs {
    () => {
        $crate::house::Programs {
            controller: env!("CARGO_BIN_EXE_house-controller").into(),
            agent: env!("CARGO_BIN_EXE_house-agent").into(),
            rke: env!("CARGO_BIN_EXE_rke-rehearsal").into(),
        }
    };
}
