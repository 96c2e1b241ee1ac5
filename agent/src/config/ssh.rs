//! `[ssh]`: how `rke` reaches the clusters' hosts. Never part of a cluster's spec.

use std::path::PathBuf;

use cratekube_common::rke::render::SshAccess;

use super::{Section, or, path};

/// How `rke` reaches the clusters' hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshSection {
    /// With the private key in this file.
    Key(PathBuf),
    /// Through the SSH agent that `SSH_AUTH_SOCK` names. The default: the key itself then never lies
    /// on the bastion, as CrateKube's standard for SSH keys asks.
    Agent,
}

impl SshSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let key = or(&section.field("key"), None, |f| path(f).map(Some));
        let agent = or(&section.field("agent"), false, super::Field::boolean);
        match (key?, agent?) {
            (Some(_), true) => {
                section.at().error("set either `key` or `agent`, not both");
                None
            }
            (Some(key), false) => Some(Self::Key(key)),
            (None, _) => Some(Self::Agent),
        }
    }
}

impl From<&SshSection> for SshAccess {
    fn from(section: &SshSection) -> Self {
        match section {
            SshSection::Key(path) => Self::Key { path: path.display().to_string() },
            SshSection::Agent => Self::Agent,
        }
    }
}
