//! Why a host could not be reached or used over SSH: a class, a sentence, and what to do.

use cratekube_common::domain::failure::FailureClass as Class;

use super::key::KeyFault;

/// Why a host could not be reached or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshFault {
    /// The name means no address.
    #[error("its name cannot be resolved: {0}")]
    Unresolved(String),
    /// Nothing listens.
    #[error("port {port} refuses connections")]
    Refused {
        /// Port of SSH.
        port: u16,
    },
    /// There is no way there.
    #[error("it cannot be reached on port {port}: {why}")]
    Unreachable {
        /// Port of SSH.
        port: u16,
        /// In the words of the operating system.
        why: String,
    },
    /// No answer in time.
    #[error("port {port} does not answer within {seconds} s")]
    Silent {
        /// Port of SSH.
        port: u16,
        /// How long it was waited for.
        seconds: u64,
    },
    /// It accepts connections and then says nothing.
    #[error("port {port} accepts the connection and then says nothing for {seconds} s")]
    Mute {
        /// Port of SSH.
        port: u16,
        /// How long it was waited for.
        seconds: u64,
    },
    /// What answers is not SSH, or nothing that is understood.
    #[error("what answers on port {port} does not speak SSH as it should: {why}")]
    Protocol {
        /// Port of SSH.
        port: u16,
        /// What is wrong.
        why: String,
    },
    /// Both sides share no algorithm.
    #[error("its SSH shares no {kind} with this agent; it offers {theirs}")]
    NothingInCommon {
        /// Kind of algorithm.
        kind: String,
        /// What it offers.
        theirs: String,
    },
    /// Another key than on record.
    #[error(
        "it shows the host key {shown}, but {recorded} is on record since {since}: another machine answers at this address"
    )]
    OtherHostKey {
        /// Fingerprint of what it shows.
        shown: String,
        /// Fingerprint on record.
        recorded: String,
        /// When that was recorded.
        since: String,
    },
    /// User or key refused.
    #[error("SSH refuses user {user} with {with}")]
    NotLetIn {
        /// The user.
        user: String,
        /// What it was tried with.
        with: String,
    },
    /// Nothing to log in with.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// The server forbids what `rke` needs.
    #[error("sshd forbids {0}")]
    Forbidden(&'static str),
    /// A socket on the host cannot be opened by this user.
    #[error("{0} cannot be opened")]
    NotOpened(String),
    /// A command took too long.
    #[error("a command was not done within {0} s")]
    TooLong(u64),
    /// There was no time left to look at it.
    #[error("it could not be looked at within {0} s, together with all others")]
    Unfinished(u64),
    /// The connection ended.
    #[error("the connection broke off: {0}")]
    Lost(String),
}

impl SshFault {
    /// The class of a failure for this reason.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::NotLetIn { .. } | Self::Key(_) | Self::OtherHostKey { .. } => Class::Auth,
            Self::Forbidden(_) | Self::NotOpened(_) => Class::Docker,
            Self::TooLong(_) | Self::Unfinished(_) => Class::Timeout,
            _ => Class::Unreachable,
        }
    }

    /// Whether doing the same again can help.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unresolved(_)
            | Self::Refused { .. }
            | Self::Unreachable { .. }
            | Self::Silent { .. }
            | Self::Mute { .. }
            | Self::TooLong(_)
            | Self::Unfinished(_)
            | Self::Lost(_) => true,
            Self::Key(fault) => fault.retryable(),
            _ => false,
        }
    }

    /// What the user should do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unresolved(_) => "Correct the node's address in the spec, or the DNS that the bastion uses.",
            Self::Refused { .. } => "See that sshd runs on the host and that the node's port in the spec is its port.",
            Self::Unreachable { .. } | Self::Silent { .. } => {
                "See that the host runs, that the node's address and port are right, and that firewall and security groups let the bastion in."
            }
            Self::Mute { .. } | Self::Lost(_) | Self::TooLong(_) => {
                "See whether the host is overloaded, out of memory or hangs (its console tells), then try again."
            }
            Self::Unfinished(_) => {
                "Ask again, or leave it to the operation: it looks at all hosts before `rke`, and longer."
            }
            Self::Protocol { .. } => "See that the node's port in the spec is the one of sshd.",
            Self::NothingInCommon { .. } => {
                "Give the host an Ed25519 host key (`ssh-keygen -A` as root, then restart sshd), or an OpenSSH of this decade."
            }
            Self::OtherHostKey { .. } => {
                "If the host was exchanged or set up anew on purpose, an operator of the service says so on the bastion with `cratekube-agent forget-host-key`; otherwise find out who answers there before anything is sent to it."
            }
            Self::NotLetIn { .. } => {
                "Put the bastion's public key into authorized_keys of that user on the host, and see that the spec names the right user (`ssh_user`, or the node's `user`)."
            }
            Self::Key(fault) => fault.remedy(),
            Self::Forbidden(_) => {
                "rke works through forwarded connections: allow AllowTcpForwarding and AllowStreamLocalForwarding in the host's sshd_config, and nothing in authorized_keys that restricts them."
            }
            Self::NotOpened(_) => {
                "See that Docker runs on the host (`systemctl status docker`) and add the SSH user to the group docker (`usermod -aG docker USER`)."
            }
        }
    }
}
