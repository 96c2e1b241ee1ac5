//! Hosts that a run went without: why, and what to do.
//!
//! RKE's words for a connection that failed mislead at times: a refused SSH port reads as `Cannot
//! connect to the Docker daemon`. What is known of them (recorded from the real binary) is the table
//! of [`reason`].

use std::collections::BTreeMap;

use crate::domain::failure::{Failure, FailureClass as Class};

/// Most hosts that a sentence names.
const MAX_NAMED: usize = 10;

/// Why a host could not be connected.
struct Reason {
    class: Class,
    retryable: bool,
    what: &'static str,
    remedy: &'static str,
}

/// The failure of hosts that could not be connected; none when there are none.
pub(super) fn unconnected(tunnels: &BTreeMap<String, String>) -> Option<Failure> {
    let all: Vec<&str> = tunnels.keys().map(String::as_str).collect();
    absent(&all, tunnels, "could not be connected")
}

/// The failure of `hosts`, which are missing or still there as `state` says; by the reason of one
/// that needs a hand rather than patience, when there is one.
pub(super) fn absent(hosts: &[&str], tunnels: &BTreeMap<String, String>, state: &str) -> Option<Failure> {
    if hosts.is_empty() {
        return None;
    }
    let known = hosts.iter().filter_map(|host| tunnels.get(*host)).map(|line| (line, reason(line)));
    let Some((line, reason)) = known.min_by_key(|(_, reason)| reason.retryable) else {
        return Some(Failure {
            class: Class::Unreachable,
            message: format!("{} {state}", named(hosts)),
            line: None,
            retryable: true,
            remedy: "See that these hosts run and accept SSH from the bastion, then retry.".into(),
        });
    };
    Some(Failure {
        class: reason.class,
        message: format!("{} {state}: {}", named(hosts), reason.what),
        line: Some(line.clone()),
        retryable: reason.retryable,
        remedy: reason.remedy.into(),
    })
}

/// `host a`, `hosts a, b and 3 more`.
pub(super) fn named(hosts: &[&str]) -> String {
    let shown = hosts.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    let noun = if hosts.len() == 1 { "host" } else { "hosts" };
    match hosts.len().saturating_sub(MAX_NAMED) {
        0 => format!("{noun} {shown}"),
        more => format!("{noun} {shown} and {more} more"),
    }
}

fn reason(line: &str) -> Reason {
    let has = |mark| line.contains(mark);
    if has("unable to authenticate") {
        return Reason {
            class: Class::Auth,
            retryable: false,
            what: "SSH refuses the user or the key",
            remedy: "Put the bastion's public key into authorized_keys of the SSH user on these hosts and see that the spec names that user; newer OpenSSH refuses RSA keys of RKE's SSH, so use ed25519. Then retry.",
        };
    }
    if has("Error while reading SSH key file") || has("passphrase protected") || has("no key found") {
        return Reason {
            class: Class::Auth,
            retryable: false,
            what: "the bastion's SSH key cannot be used",
            remedy: "An operator of the service must give the agent a readable private key without passphrase, or an SSH agent that holds it. Then retry.",
        };
    }
    if has("connect failed (open failed)") || has("permission denied") {
        return Reason {
            class: Class::Docker,
            retryable: false,
            what: "the SSH user may not use Docker",
            remedy: "Add the SSH user to the group docker on these hosts, see that Docker runs there, and that sshd allows forwarding (AllowTcpForwarding, AllowStreamLocalForwarding). Then retry.",
        };
    }
    Reason {
        class: Class::Unreachable,
        retryable: true,
        what: unreached(line),
        remedy: "See that these hosts run, that their address and SSH port are right in the spec, and that firewall and security groups let the bastion in. Then retry.",
    }
}

fn unreached(line: &str) -> &'static str {
    const WORDS: &[(&str, &str)] = &[
        ("Cannot connect to the Docker daemon", "the SSH port refuses connections, or Docker does not run"),
        ("connection refused", "the SSH port refuses connections"),
        ("no route to host", "there is no route to the host"),
        ("timed out", "the host does not answer"),
        ("i/o timeout", "the host does not answer"),
        ("no such host", "the host's name is not known"),
    ];
    WORDS.iter().find(|(mark, _)| line.contains(mark)).map_or("the host cannot be reached", |(_, what)| *what)
}
