//! `[agent]`: the agent itself.

use std::path::PathBuf;

use cratekube_common::domain::name::AgentName;

use super::{Section, or, path};

/// Where its key and certificate are: where packages put the state of services.
const STATE_DIR: &str = "/var/lib/cratekube-agent";
/// Runs at once. `rke` waits for the network most of the time and takes some 100 MB of memory.
const SLOTS: u64 = 4;
/// More than any bastion can hold in memory.
const MOST_SLOTS: u64 = 256;

/// The agent itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSection {
    /// Its name; the first part of the host's name when not set. Used when it enrols.
    pub name: Option<AgentName>,
    /// Where its key and certificate are.
    pub state_dir: PathBuf,
    /// Attempts it executes at once.
    pub slots: u32,
}

impl AgentSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let name = or(&section.field("name"), None, |f| f.parse().map(Some));
        let state_dir = or(&section.field("state_dir"), STATE_DIR.into(), path);
        let slots = or(&section.field("slots"), SLOTS, |f| f.integer(1..=MOST_SLOTS));
        Some(Self { name: name?, state_dir: state_dir?, slots: u32::try_from(slots?).ok()? })
    }
}
