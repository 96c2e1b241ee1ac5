//! SSH to the hosts of clusters, as `rke` does it: the same users, ports and keys.
//!
//! - [`key`]: what logs in, a private key or an SSH agent; [`rsa`] signs where the key is an RSA one.
//! - [`known`]: the keys that hosts showed, per cluster, on the volume.
//! - [`session`]: a connection; runs a command, opens a socket on the host, everything bounded.
//! - [`fault`]: why a host could not be reached, with what to do.
//! - [`fleet`]: many hosts at once.
//!
//! `rke` itself checks no host key at all. Here a key is recorded when a host is first seen, and once
//! something was built a host that shows another key is refused. That protects what these steps do, and
//! tells that a host was exchanged before `rke` builds on it; it does not protect the connections of `rke`.
//!
//! Everything a host says is hostile until proven otherwise: sizes and times have bounds, text that is
//! shown goes through [`cratekube_common::visible`].
//!
//! Not here: host keys that are RSA only (nothing here verifies RSA signatures; every OpenSSH of the last
//! ten years has an Ed25519 key too), passwords, and jump hosts: the bastion is in the hosts' network.

pub mod fault;
pub mod fleet;
pub mod key;
pub mod known;
mod rsa;
pub mod session;

use std::fmt;

use cratekube_common::domain::cluster::spec::{ClusterSpec, Node};

pub use fault::SshFault;
pub use key::{Credentials, KeyFault};
pub use known::KnownHosts;
pub use session::{Bounds, Connector, Output, Session};

/// Whom to reach, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// IP address or DNS name.
    pub address: String,
    /// Port of SSH.
    pub port: u16,
    /// The user.
    pub user: String,
}

impl Target {
    /// The host of a node, as `rke` would reach it.
    #[must_use]
    pub fn of(node: &Node, spec: &ClusterSpec) -> Self {
        Self {
            address: node.address.clone(),
            port: node.port,
            user: node.user.as_ref().unwrap_or(&spec.ssh_user).clone(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.user, self.address, self.port)
    }
}
