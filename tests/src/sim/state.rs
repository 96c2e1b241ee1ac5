//! The state files that a simulated `rke` writes: whole for the product's own eyes, and numbered, so
//! that older can be told from newer.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use cratekube_agent::volume::generations::{Generations, STATE};
use cratekube_common::rke::state;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

/// What a state file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Grows with every write.
    pub revision: u64,
    /// Which CA it carries.
    pub ca: usize,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "revision {} with CA {}", self.revision, self.ca)
    }
}

/// What is found where a state should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No file.
    Nothing,
    /// A file that `rke` cannot read.
    Torn,
    /// A whole one.
    Whole(Content),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no state"),
            Self::Torn => f.write_str("a torn state"),
            Self::Whole(content) => content.fmt(f),
        }
    }
}

/// Certificates of CAs; which cluster has which does not matter, only that it stays.
static AUTHORITIES: LazyLock<Vec<String>> = LazyLock::new(|| (0..8).filter_map(|_| authority().ok()).collect());

fn authority() -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok(params.self_signed(&KeyPair::generate()?)?.pem())
}

/// A state file; with `built`, of a cluster whose control plane is there.
#[must_use]
pub fn write(content: &Content, hosts: &[String], built: bool) -> Vec<u8> {
    let authorities = &*AUTHORITIES;
    let nodes: Vec<Value> =
        hosts.iter().map(|host| json!({"address": host, "role": ["controlplane", "etcd", "worker"]})).collect();
    let half = json!({
        "rkeConfig": {"nodes": nodes, "kubernetesVersion": "v1.28.12-rancher1-1"},
        "certificatesBundle": {
            "kube-ca": {"certificatePEM": authorities[content.ca % authorities.len()], "keyPEM": "simulated"},
        },
    });
    let current = if built { half.clone() } else { json!({}) };
    let document = json!({
        "desiredState": half, "currentState": current, "revision": content.revision, "ca": content.ca,
    });
    document.to_string().into_bytes()
}

/// What is in a state file.
#[must_use]
pub fn read(path: &Path) -> Found {
    let Ok(bytes) = fs::read(path) else { return Found::Nothing };
    let whole = state::inspect(&bytes).ok().and_then(|_| serde_json::from_slice::<Value>(&bytes).ok());
    let Some(document) = whole else { return Found::Torn };
    let number = |name: &str| document[name].as_u64().unwrap_or(0);
    let ca = usize::try_from(number("ca")).unwrap_or(0);
    Found::Whole(Content { revision: number("revision"), ca })
}

/// The newest state that is sealed as good in a directory of generations.
#[must_use]
pub fn newest_good(generations: &Path) -> Option<Content> {
    let generations = Generations::at(generations.to_owned());
    let manifest = generations.newest_good().ok()??;
    match read(&generations.path(manifest.number).join(STATE)) {
        Found::Whole(content) => Some(content),
        _ => None,
    }
}
