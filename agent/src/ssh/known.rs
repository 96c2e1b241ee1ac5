//! The keys that the hosts of a cluster showed, in `ssh_hosts.json` in the cluster's directory.
//!
//! A key is recorded when its host is first logged in to. What happens when a host shows another one
//! depends on whether there is anything to lose: until something was built the new key takes its place,
//! with a warning (hosts are set up anew between two tries); afterwards the host is refused, until an
//! operator says `cratekube-agent forget-host-key`. Hosts that the spec no longer names are forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files;
use russh::keys::{HashAlg, PublicKey};
use serde::{Deserialize, Serialize};

use super::Target;

/// Name of the file, beside `working/`.
pub const FILE: &str = "ssh_hosts.json";

/// What is on record of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRecord {
    /// Name of the key's algorithm.
    pub algorithm: String,
    /// Fingerprint, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// When it was recorded.
    pub since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format_version: u32,
    /// By `address:port`.
    hosts: BTreeMap<String, HostRecord>,
}

/// What is to be thought of a key that a host shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Never seen.
    New,
    /// On record.
    Known,
    /// Another one than on record; nothing is lost by that yet.
    Exchanged(HostRecord),
    /// Another one than on record.
    Refused(HostRecord),
}

/// The keys of the hosts of one cluster.
#[derive(Debug)]
pub struct KnownHosts {
    path: Option<PathBuf>,
    built: bool,
    hosts: Mutex<BTreeMap<String, HostRecord>>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KnownHostsFault {
    /// From the filesystem.
    #[error("{path} cannot be used: {error}")]
    Io {
        /// The file.
        path: String,
        /// What happened.
        error: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl KnownHosts {
    /// What is on record in a cluster's directory. `built` says whether there is a cluster that could be
    /// harmed.
    ///
    /// # Errors
    /// [`KnownHostsFault`]; a damaged file is not taken for an empty one.
    pub fn open(cluster_dir: &Path, built: bool) -> Result<Self, KnownHostsFault> {
        let path = cluster_dir.join(FILE);
        let hosts = read(&path)?.map(|file| file.hosts).unwrap_or_default();
        Ok(Self { path: Some(path), built, hosts: Mutex::new(hosts) })
    }

    /// Nothing on record, and nothing is recorded.
    #[must_use]
    pub fn none() -> Self {
        Self { path: None, built: false, hosts: Mutex::new(BTreeMap::new()) }
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, HostRecord>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Name of the algorithm on record, to be asked for first: a host that got a second key is the same host.
    #[must_use]
    pub fn algorithm(&self, target: &Target) -> Option<String> {
        self.hosts().get(&name(target)).map(|record| record.algorithm.clone())
    }

    /// What is to be thought of this key.
    #[must_use]
    pub fn judge(&self, target: &Target, key: &PublicKey) -> Verdict {
        match self.hosts().get(&name(target)) {
            None => Verdict::New,
            Some(record) if record.fingerprint == fingerprint(key) => Verdict::Known,
            Some(record) if self.built => Verdict::Refused(record.clone()),
            Some(record) => Verdict::Exchanged(record.clone()),
        }
    }

    /// Puts a host's key on record; [`Self::save`] writes it down.
    pub fn record(&self, target: &Target, key: &PublicKey, now: Timestamp) {
        let record = HostRecord { algorithm: key.algorithm().to_string(), fingerprint: fingerprint(key), since: now };
        self.hosts().insert(name(target), record);
    }

    /// Writes down what is on record of these hosts, and forgets all others.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn save(&self, wanted: &[Target]) -> Result<(), KnownHostsFault> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut hosts = self.hosts();
        let wanted: Vec<String> = wanted.iter().map(name).collect();
        hosts.retain(|host, _| wanted.contains(host));
        write(path, &File { format_version: 1, hosts: hosts.clone() })
    }
}

/// Forgets what is on record of an address in a cluster's directory, at all ports. Says what it was.
///
/// # Errors
/// [`KnownHostsFault`].
pub fn forget(cluster_dir: &Path, address: &str) -> Result<Vec<HostRecord>, KnownHostsFault> {
    let path = cluster_dir.join(FILE);
    let Some(mut file) = read(&path)? else { return Ok(Vec::new()) };
    let of_address = |host: &str| host.rsplit_once(':').is_some_and(|(found, _)| found == address);
    let (gone, kept) = file.hosts.into_iter().partition(|(host, _)| of_address(host));
    file.hosts = kept;
    let gone: BTreeMap<String, HostRecord> = gone;
    if !gone.is_empty() {
        write(&path, &file)?;
    }
    Ok(gone.into_values().collect())
}

/// Fingerprint of a key, as `ssh-keygen -l` prints it.
#[must_use]
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn name(target: &Target) -> String {
    format!("{}:{}", target.address, target.port)
}

fn read(path: &Path) -> Result<Option<File>, KnownHostsFault> {
    let shown = || path.display().to_string();
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| KnownHostsFault::Io { path: shown(), error })?,
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| KnownHostsFault::Damaged { path: shown(), why: error.to_string() })
}

fn write(path: &Path, file: &File) -> Result<(), KnownHostsFault> {
    let io = |error| KnownHostsFault::Io { path: path.display().to_string(), error };
    let text = serde_json::to_vec_pretty(file).map_err(|error| io(error.into()))?;
    files::write_atomic(path, &text).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn target(address: &str) -> Target {
        Target { address: address.into(), port: 22, user: "rancher".into() }
    }

    fn now() -> Timestamp {
        Timestamp::from_millis(1_000)
    }

    #[test]
    fn a_host_that_shows_another_key_is_refused_once_something_was_built() {
        let dir = tempfile::tempdir().unwrap();
        let (host, other) = (target("10.0.0.1"), target("10.0.0.2"));
        let known = KnownHosts::open(dir.path(), false).unwrap();
        assert_eq!(known.judge(&host, &key(ONE)), Verdict::New);
        known.record(&host, &key(ONE), now());
        known.record(&other, &key(ONE), now());
        known.save(&[host.clone(), other]).unwrap();

        let known = KnownHosts::open(dir.path(), true).unwrap();
        assert_eq!(known.judge(&host, &key(ONE)), Verdict::Known);
        assert_eq!(known.algorithm(&host).unwrap(), "ssh-ed25519");
        assert!(matches!(known.judge(&host, &key(OTHER)), Verdict::Refused(record) if record.since == now()));
        let early = KnownHosts::open(dir.path(), false).unwrap();
        assert!(matches!(early.judge(&host, &key(OTHER)), Verdict::Exchanged(_)), "nothing was built yet");
    }

    #[test]
    fn hosts_that_left_the_spec_and_those_that_an_operator_names_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = ["10.0.0.1", "10.0.0.2", "fd00::1"].map(target);
        let known = KnownHosts::open(dir.path(), true).unwrap();
        hosts.iter().for_each(|host| known.record(host, &key(ONE), now()));
        known.save(&[hosts[0].clone(), hosts[2].clone()]).unwrap();
        assert_eq!(KnownHosts::open(dir.path(), true).unwrap().judge(&hosts[1], &key(OTHER)), Verdict::New);
        assert_eq!(forget(dir.path(), "10.0.0.9").unwrap(), []);
        assert_eq!(forget(dir.path(), "fd00::1").unwrap().len(), 1);
        let known = KnownHosts::open(dir.path(), true).unwrap();
        assert_eq!(known.judge(&hosts[2], &key(OTHER)), Verdict::New);
        assert_eq!(known.judge(&hosts[0], &key(ONE)), Verdict::Known);
    }

    #[test]
    fn a_damaged_record_is_not_taken_for_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{\"format_version\":1,\"hos").unwrap();
        assert!(matches!(KnownHosts::open(dir.path(), true), Err(KnownHostsFault::Damaged { .. })));
    }
}
