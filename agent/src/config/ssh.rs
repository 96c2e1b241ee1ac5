//! `[ssh]`: how `rke` and the agent's own steps reach the clusters' hosts. Never part of a cluster's spec.

use std::path::PathBuf;

use cratekube_common::rke::render::SshAccess;

use super::{Section, or, path};

/// How the clusters' hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSection {
    /// What logs in.
    pub login: SshLogin,
    /// Whether hosts are looked at before `rke` begins. On by default: `rke` tells late and little of what
    /// is wrong with hosts.
    pub preflight: bool,
    /// Whether what RKE leaves on the hosts of a removed cluster is taken away. On by default: the next
    /// cluster on these hosts would meet it.
    pub clean_hosts: bool,
}

/// What logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshLogin {
    /// The private key in this file.
    Key(PathBuf),
    /// The keys of the SSH agent that `SSH_AUTH_SOCK` names. The default: the key itself then never lies
    /// on the bastion, as CrateKube's standard for SSH keys asks.
    Agent,
}

impl SshSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let key = or(&section.field("key"), None, |f| path(f).map(Some));
        let agent = or(&section.field("agent"), false, super::Field::boolean);
        let preflight = or(&section.field("preflight"), true, super::Field::boolean);
        let clean_hosts = or(&section.field("clean_hosts"), true, super::Field::boolean);
        let login = match (key?, agent?) {
            (Some(_), true) => {
                section.at().error("set either `key` or `agent`, not both");
                return None;
            }
            (Some(key), false) => SshLogin::Key(key),
            (None, _) => SshLogin::Agent,
        };
        Some(Self { login, preflight: preflight?, clean_hosts: clean_hosts? })
    }
}

impl From<&SshSection> for SshAccess {
    fn from(section: &SshSection) -> Self {
        match &section.login {
            SshLogin::Key(path) => Self::Key { path: path.display().to_string() },
            SshLogin::Agent => Self::Agent,
        }
    }
}
