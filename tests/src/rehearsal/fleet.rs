//! The fleet: a small model of the hosts, kept in a directory.
//!
//! It exists so that faults have their real consequences in a *later* run: a host that could not
//! be cleaned still carries the old cluster, a lost state file can be fetched back from the
//! cluster that holds a copy. One JSON file per host, changed under one lock and replaced
//! atomically; tests may rewrite them at any time, so nothing is cached here. A host without a
//! file is reachable and empty. No line of output is made here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why a host does not do what it should.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HostFault {
    /// Nothing listens on the SSH port.
    Refused,
    /// Packets vanish: 134 s of silence.
    Blackhole,
    /// The network says `no route to host`.
    NoRoute,
    /// The host does not accept the key.
    WrongKey,
    /// The host does not know the user.
    UnknownUser,
    /// The user may not use Docker.
    NoDocker,
    /// The private key is protected by a passphrase.
    EncryptedKey,
    /// The private key is no private key.
    GarbageKey,
    /// Reachable, but Docker is of an unsupported version.
    DockerVersion,
    /// Reachable, but no image can be pulled.
    NoImages,
    /// Reachable, but nobody reaches its kubelet port.
    PortBlocked,
}

impl HostFault {
    /// Whether rke cannot even open a tunnel.
    #[must_use]
    pub fn cuts_off(self) -> bool {
        !matches!(self, HostFault::DockerVersion | HostFault::NoImages | HostFault::PortBlocked)
    }
}

/// Whether a container runs or merely exists.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// Up.
    Running,
    /// Created or exited.
    Stopped,
}

/// One host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// What is wrong with it, if anything.
    pub fault: Option<HostFault>,
    /// SHA-256 of the CA certificate (DER) that its certificates come from.
    pub ca: Option<String>,
    /// `cluster_name` that its containers belong to.
    pub cluster: Option<String>,
    /// RKE's containers on it.
    pub containers: BTreeMap<String, Container>,
}

impl Host {
    /// Whether this container runs.
    #[must_use]
    pub fn runs(&self, container: &str) -> bool {
        self.containers.get(container) == Some(&Container::Running)
    }

    /// Whether it carries a cluster whose CA is not `ca`.
    #[must_use]
    pub fn is_foreign_to(&self, ca: &str) -> bool {
        self.ca.as_deref().is_some_and(|own| own != ca)
            && ["etcd", "kube-apiserver", "kubelet"].iter().any(|c| self.runs(c))
    }
}

/// What a cluster's own API would tell: its nodes, and the state it keeps a copy of.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(default)]
pub struct LiveCluster {
    /// `cluster_name`.
    pub name: String,
    /// Node name → address, of nodes that have joined.
    pub nodes: BTreeMap<String, String>,
    /// The CA that it had before this one, when it has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formerly: Option<String>,
}

/// The directory.
#[derive(Clone, Debug)]
pub struct Fleet {
    root: PathBuf,
}

impl Fleet {
    /// A fleet in `root`, which need not exist yet.
    #[must_use]
    pub fn open(root: &Path) -> Fleet {
        Fleet { root: root.to_owned() }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The host at `address`; reachable and empty when unheard of.
    #[must_use]
    pub fn host(&self, address: &str) -> Host {
        self.read(&self.host_path(address)).unwrap_or_default()
    }

    /// Changes one host.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn change_host(&self, address: &str, change: impl FnOnce(&mut Host)) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut host = self.host(address);
        change(&mut host);
        self.write(&self.host_path(address), &host)
    }

    /// What the cluster with this CA knows of itself.
    #[must_use]
    pub fn cluster(&self, ca: &str) -> Option<LiveCluster> {
        self.read(&self.root.join("clusters").join(format!("{ca}.json")))
    }

    pub(crate) fn change_cluster(&self, ca: &str, change: impl FnOnce(&mut LiveCluster)) -> io::Result<()> {
        let _lock = self.lock()?;
        let mut cluster = self.cluster(ca).unwrap_or_default();
        change(&mut cluster);
        self.write(&self.root.join("clusters").join(format!("{ca}.json")), &cluster)
    }

    /// Keeps a copy of the state "in Kubernetes"; as somebody with access to the cluster could, too.
    ///
    /// # Errors
    /// When the fleet cannot be written.
    pub fn save_state(&self, ca: &str, state: &[u8]) -> io::Result<()> {
        self.replace(&self.state_path(ca), state)
    }

    /// The copy of the state that the cluster with this CA keeps.
    #[must_use]
    pub fn saved_state(&self, ca: &str) -> Option<Vec<u8>> {
        fs::read(self.state_path(ca)).ok()
    }

    pub(crate) fn save_snapshot(&self, ca: &str, name: &str, state: &[u8]) -> io::Result<()> {
        self.replace(&self.snapshot_path(ca, name), state)
    }

    pub(crate) fn snapshot(&self, ca: &str, name: &str) -> Option<Vec<u8>> {
        fs::read(self.snapshot_path(ca, name)).ok()
    }

    /// Counts a firing of a fault; false when it has fired `times` times already.
    pub(crate) fn count_fault(&self, key: &str, times: u32) -> bool {
        let count = || -> io::Result<bool> {
            let _lock = self.lock()?;
            let path = self.root.join("faults").join(format!("{key}.json"));
            let fired: u32 = self.read(&path).unwrap_or(0);
            if fired < times {
                self.write(&path, &(fired + 1))?;
            }
            Ok(fired < times)
        };
        count().unwrap_or(false)
    }

    /// Serialises changes by several processes; released on drop, and by death.
    pub(crate) fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.root)?;
        let lock = File::create(self.root.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(lock)
    }

    fn host_path(&self, address: &str) -> PathBuf {
        let name = address.replace(['/', '\0'], "_");
        self.root.join("hosts").join(format!("{name}.json"))
    }

    fn state_path(&self, ca: &str) -> PathBuf {
        self.root.join("clusters").join(format!("{ca}.rkestate"))
    }

    fn snapshot_path(&self, ca: &str, name: &str) -> PathBuf {
        let name = name.replace(['/', '\0'], "_");
        self.root.join("snapshots").join(ca).join(name)
    }

    fn read<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn write<T: Serialize>(&self, path: &Path, value: &T) -> io::Result<()> {
        self.replace(path, &serde_json::to_vec_pretty(value)?)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        fs::write(&draft, bytes)?;
        fs::rename(&draft, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_nobody_spoke_of_is_reachable_and_empty() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::open(&dir.path().join("not/yet"));
        assert_eq!(fleet.host("10.0.0.1"), Host::default());
    }

    #[test]
    fn a_change_lasts() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::open(dir.path());
        fleet
            .change_host("10.0.0.1", |h| {
                h.ca = Some("old".to_owned());
                h.containers.insert("etcd".to_owned(), Container::Running);
            })
            .unwrap();
        assert!(fleet.host("10.0.0.1").is_foreign_to("new"));
        assert!(!fleet.host("10.0.0.1").is_foreign_to("old"));
    }
}
