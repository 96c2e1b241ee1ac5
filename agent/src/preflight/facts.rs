//! What the probe says of a host, read from its output.
//!
//! Only lines that begin with the probe's nonce count; a banner, a message of the day, a chatty login
//! shell and lies between them are passed over. Values are made harmless here, once.

use std::collections::{BTreeMap, BTreeSet};

use cratekube_common::visible::visible;
use data_encoding::{BASE64, HEXLOWER};

use crate::ssh::session::quote;
use crate::ssh::{Output, session};

/// Longest text that is kept of a host.
const MOST_TEXT: usize = 300;
/// Most of a list that a host names.
const MOST_LISTED: usize = 4096;

/// A filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its size.
    pub size_kib: u64,
    /// What is free for this user.
    pub free_kib: u64,
    /// Where it is mounted.
    pub mount: String,
}

/// How far a TCP connection got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Something answers.
    Open,
    /// The host answers that nothing listens: the way is free.
    Refused,
    /// Nothing comes back.
    Silent,
    /// A router or a firewall says no.
    Unreachable,
    /// The name means nothing there.
    Unresolved,
}

/// What a user may do with a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// Use it.
    Open,
    /// Nothing.
    Closed,
    /// It is not there, or not to be seen.
    Missing,
}

/// What a host says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Who the probe ran as.
    pub user: String,
    /// The user's groups.
    pub groups: String,
    /// The host's name.
    pub hostname: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Its architecture, as `uname -m` says it.
    pub arch: String,
    /// Its operating system.
    pub os: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// Id of this boot; two hosts that share one are the same machine.
    pub boot_id: String,
    /// Processors.
    pub cpus: Option<u64>,
    /// Memory.
    pub memory_kib: Option<u64>,
    /// Swap areas in use.
    pub swap: Option<u64>,
    /// TCP ports that something listens on.
    pub listening: Option<BTreeSet<u16>>,
    /// Filesystems, by what is to be on them: `docker`, `etcd`.
    pub disks: BTreeMap<String, Disk>,
    /// Whether the user is root or may become it without a password.
    pub root: Option<bool>,
    /// What the user may do with Docker's socket.
    pub docker_socket: Option<Socket>,
    /// Directories that a cluster left.
    pub left: Vec<String>,
    /// Whether there is data of etcd.
    pub etcd_data: bool,
    /// Other ways in which Kubernetes was set up here: `k3s`, `rke2`, `kubeadm`.
    pub other: Vec<String>,
    /// SHA-256 of the CA certificate in `/etc/kubernetes/ssl`, lower-case hex.
    pub ca_sha256: Option<String>,
    /// How far connections to other hosts got, by `address:port`.
    pub reach: BTreeMap<String, Reach>,
    /// Why they were not tried.
    pub reach_untested: Option<String>,
    /// Its clock when the probe began, seconds since 1970.
    pub began: Option<i64>,
    /// Its clock when the probe ended.
    pub ended: Option<i64>,
}

/// Why there are no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFault {
    /// Not one line of the probe.
    #[error("the login shell does not run `sh -s`: {said}")]
    NoShell {
        /// What came instead.
        said: String,
    },
    /// The probe did not come to its end.
    #[error("the host ended the probe early: {said}")]
    Broken {
        /// What came instead.
        said: String,
    },
}

/// Reads the probe's output.
///
/// # Errors
/// [`ProbeFault`] when the probe did not run to its end.
pub fn read(output: &Output, nonce: &str) -> Result<HostFacts, ProbeFault> {
    let text = String::from_utf8_lossy(&output.stdout);
    let mark = format!("@{nonce} ");
    let mut facts = HostFacts::default();
    let mut lines = 0_u32;
    for line in text.lines() {
        // A shell that prints something without ending the line does not hide what follows.
        let Some((_, said)) = line.split_once(&mark) else { continue };
        let Some((key, value)) = said.split_once('=') else { continue };
        lines += 1;
        facts.take(key, value.trim());
    }
    if facts.ended.is_some() {
        return Ok(facts);
    }
    let said = words(output);
    Err(if lines == 0 { ProbeFault::NoShell { said } } else { ProbeFault::Broken { said } })
}

/// What a command said instead of what was wanted; its errors first.
fn words(output: &Output) -> String {
    let (errors, text) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let said = [&errors, &text].into_iter().map(|said| session::quote(said)).find(|said| !said.is_empty());
    match (said, output.cut, output.status) {
        (_, true, _) => "it prints without end".into(),
        (Some(said), false, _) => said,
        (None, false, Some(status)) => format!("it printed nothing and ended with status {status}"),
        (None, false, None) => "it printed nothing and was killed".into(),
    }
}

impl HostFacts {
    fn take(&mut self, key: &str, value: &str) {
        match key {
            "user" => self.user = quote(value),
            "groups" => self.groups = quote(value),
            "hostname" => self.hostname = quote(value),
            "kernel" => self.kernel = quote(value),
            "arch" => self.arch = quote(value),
            "os" => self.os = quote(value),
            "machine_id" => self.machine_id = quote(value),
            "boot_id" => self.boot_id = quote(value),
            "cpus" => self.cpus = value.parse().ok(),
            "memory_kib" => self.memory_kib = value.parse().ok(),
            "swap" => self.swap = value.parse().ok(),
            "listening" => self.listening = Some(value.split_whitespace().filter_map(port).collect()),
            "root" => self.root = Some(value == "yes"),
            "docker_socket" => {
                self.docker_socket = match value {
                    "open" => Some(Socket::Open),
                    "closed" => Some(Socket::Closed),
                    "missing" => Some(Socket::Missing),
                    _ => None,
                }
            }
            "left" => list(&mut self.left, value),
            "other" => list(&mut self.other, value),
            "etcd_data" => self.etcd_data = value == "yes",
            "ca" => self.ca_sha256 = certificate(value),
            "reach" => self.take_reach(value),
            "reach_untested" => self.reach_untested = Some(quote(value)),
            "began" => self.began = value.parse().ok(),
            "ended" => self.ended = value.parse().ok(),
            _ => {
                if let Some(disk) = key.strip_prefix("disk.").filter(|name| matches!(*name, "docker" | "etcd")) {
                    self.take_disk(disk, value);
                }
            }
        }
    }

    fn take_disk(&mut self, name: &str, value: &str) {
        let mut words = value.splitn(3, ' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        if let (Some(size_kib), Some(free_kib)) = (number(), number()) {
            let mount = quote(words.next().unwrap_or_default());
            self.disks.insert(name.to_owned(), Disk { size_kib, free_kib: free_kib.min(size_kib), mount });
        }
    }

    fn take_reach(&mut self, value: &str) {
        let Some((peer, how)) = value.rsplit_once(' ') else { return };
        let how = match how {
            "open" => Reach::Open,
            "refused" => Reach::Refused,
            "silent" => Reach::Silent,
            "unresolved" => Reach::Unresolved,
            _ => Reach::Unreachable,
        };
        if self.reach.len() < MOST_LISTED {
            self.reach.insert(peer.chars().take(MOST_TEXT).collect(), how);
        }
    }
}

fn list(into: &mut Vec<String>, value: &str) {
    let value = visible(&quote(value)).into_owned();
    if into.len() < 32 && !into.contains(&value) {
        into.push(value);
    }
}

/// A port as the kernel writes it.
fn port(hex: &str) -> Option<u16> {
    u16::from_str_radix(hex, 16).ok()
}

/// SHA-256 of the certificate that this is the Base64 of.
pub(crate) fn certificate(base64: &str) -> Option<String> {
    let der = BASE64.decode(base64.trim().as_bytes()).ok().filter(|der| !der.is_empty())?;
    Some(HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der).as_ref()))
}

/// SHA-256 of the first certificate in a PEM, lower-case hex.
pub(crate) fn certificate_of_pem(pem: &str) -> Option<String> {
    let inside = pem.split_once("-----BEGIN CERTIFICATE-----")?.1.split_once("-----END CERTIFICATE-----")?.0;
    let base64: String = inside.split_whitespace().collect();
    certificate(&base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn output(stdout: &str) -> Output {
        Output { status: Some(0), stdout: stdout.as_bytes().to_vec(), ..Output::default() }
    }

    #[test]
    fn facts_are_read_between_banners_noise_and_lies() {
        let text = "\u{1b}[2JWelcome to host!\r\nlistening=16\n@other user=root\nprompt> @n user=rancher\n\
            @n hostname=node-1\n@n machine_id=abc\n@n listening=0016 192A 192A zz 1FFFF\n@n disk.docker=1000 400 /\n\
            @n disk.etcd=nonsense\n@n disk.evil=1 1 /\n@n swap=1\n@n root=no\n@n left=/etc/cni\n@n left=/etc/cni\n\
            @n reach=10.0.0.2:2379 silent\n@n reach=fd00::2:6443 refused\n@n ca=Zm9v\n@n began=100\n@n ended=103\n@n ";
        let facts = read(&output(text), "n").unwrap();
        assert_eq!((facts.user.as_str(), facts.hostname.as_str()), ("rancher", "node-1"));
        assert_eq!(facts.listening, Some([22, 6442].into()));
        assert_eq!(facts.disks["docker"], Disk { size_kib: 1000, free_kib: 400, mount: "/".into() });
        assert_eq!(facts.disks.len(), 1);
        assert_eq!((facts.swap, facts.root, facts.left.len()), (Some(1), Some(false), 1));
        assert_eq!(facts.reach["10.0.0.2:2379"], Reach::Silent);
        assert_eq!(facts.reach["fd00::2:6443"], Reach::Refused);
        let foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(facts.ca_sha256.as_deref(), Some(foo));
        let pem = "x\n-----BEGIN CERTIFICATE-----\nZm\n9v\n-----END CERTIFICATE-----\n";
        assert_eq!(certificate_of_pem(pem).as_deref(), Some(foo));
        assert_eq!((facts.began, facts.ended), (Some(100), Some(103)));
    }

    #[test]
    fn an_account_without_a_shell_and_a_probe_that_was_ended_are_told_apart() {
        let fault = read(&output("This account is currently not available.\n"), "n").unwrap_err();
        assert!(fault.to_string().contains("This account is currently not available"), "{fault}");
        let killed = Output { status: None, ..output("@n user=a\n") };
        assert!(matches!(read(&killed, "n"), Err(ProbeFault::Broken { .. })));
        let endless = Output { cut: true, ..output("yyyy") };
        assert!(read(&endless, "n").unwrap_err().to_string().contains("without end"));
        let mute = Output { status: Some(127), ..Output::default() };
        assert!(read(&mute, "n").unwrap_err().to_string().contains("127"));
    }

    #[test]
    fn what_a_host_says_cannot_move_a_cursor_or_turn_text_around() {
        let facts =
            read(&output("@n hostname=a\u{1b}[2Jb\u{202e}c\u{2028}d\n@n os=\u{9b}1m\n@n ended=1\n"), "n").unwrap();
        assert_eq!(facts.hostname, "a\\u{1b}[2Jb\\u{202e}c\\u{2028}d");
        assert_eq!(facts.os, "\\u{9b}1m");
        let long = format!("@n os={}\n@n ended=1\n", "x".repeat(100_000));
        assert!(read(&output(&long), "n").unwrap().os.len() <= MOST_TEXT);
    }

    proptest! {
        #[test]
        fn no_output_makes_it_panic(noise in prop::collection::vec(any::<u8>(), 0..300), key in "[a-z_.]{0,12}", value in "\\PC{0,60}") {
            let mut stdout = noise;
            stdout.extend(format!("\n@n {key}={value}\n@n ended=1\n").as_bytes());
            let facts = read(&Output { stdout, ..Output::default() }, "n");
            prop_assert!(facts.is_ok());
        }
    }
}
