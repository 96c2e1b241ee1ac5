//! What is in `cluster.rkestate`, and whether it is whole.
//!
//! RKE takes a state that it cannot read for a new cluster, mints another CA and overwrites
//! everything. So a state is believed only when it parses to its end, describes a cluster and
//! carries a CA with its key; whatever is less is a [`StateFault`] with a sentence.
//!
//! The file may be some megabytes: only what is needed is kept, the rest is skipped while parsing.
//! Not here: reading the file, and comparing the fingerprint with the one on record.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::domain::cluster::spec::NodeRole;

/// What a whole state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFacts {
    /// SHA-256 of the DER of the cluster's CA certificate (`kube-ca`, desired state), lower-case hex.
    pub ca_sha256: String,
    /// The same of the current state, when that carries another CA: a rotation that did not end.
    pub current_ca_sha256: Option<String>,
    /// True when the control plane was built at least once.
    pub has_current: bool,
    /// Hosts of the current state: what was built.
    pub nodes: Vec<StateNode>,
    /// Hosts of the desired state: what the last run was asked for.
    pub desired_nodes: Vec<StateNode>,
    /// Kubernetes version of what was built, or of what is desired when nothing was built yet.
    pub kubernetes_version: Option<String>,
}

/// A host in the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateNode {
    /// Address that RKE reaches it at.
    pub address: String,
    /// Name in Kubernetes, when it is not the address.
    pub hostname: Option<String>,
    /// What it does.
    pub roles: Vec<NodeRole>,
}

/// Why a state is not to be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    /// Nothing in it.
    #[error("the state file is empty")]
    Empty,
    /// It does not parse to its end.
    #[error("the state file is torn: {at}")]
    Torn {
        /// Where and why parsing stopped.
        at: String,
    },
    /// It does not describe a cluster.
    #[error("the state file describes no cluster: desiredState.rkeConfig is missing")]
    NoCluster,
    /// No bundle of certificates.
    #[error("the state file carries no certificates: desiredState.certificatesBundle is missing or empty")]
    NoCertificates,
    /// A bundle without CA.
    #[error("the state file carries no CA: kube-ca is missing from desiredState.certificatesBundle")]
    NoCa,
    /// A CA that can sign nothing.
    #[error("the state file carries the CA's certificate without its key")]
    CaWithoutKey,
    /// A CA that is none.
    #[error("the CA certificate in the state file cannot be read: {0}")]
    BadCa(String),
}

/// Reads a state file.
///
/// # Errors
/// The first thing that keeps it from being whole.
pub fn inspect(bytes: &[u8]) -> Result<StateFacts, StateFault> {
    if bytes.iter().all(|b| b.is_ascii_whitespace() || *b == 0) {
        return Err(StateFault::Empty);
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|e| StateFault::Torn { at: e.to_string() })?;
    let (desired, current) = (document.desired.unwrap_or_default(), document.current.unwrap_or_default());
    let config = desired.config.ok_or(StateFault::NoCluster)?;
    let ca_sha256 = desired.bundle.unwrap_or_default().ca_fingerprint()?;
    let current_ca = current.bundle.and_then(|bundle| bundle.ca_fingerprint().ok());
    let built = current.config.filter(|config| config.nodes.as_ref().is_some_and(|nodes| !nodes.is_empty()));
    Ok(StateFacts {
        current_ca_sha256: current_ca.filter(|ca| *ca != ca_sha256),
        ca_sha256,
        has_current: built.is_some(),
        kubernetes_version: built.as_ref().unwrap_or(&config).kubernetes_version.clone(),
        nodes: built.map(Config::into_nodes).unwrap_or_default(),
        desired_nodes: config.into_nodes(),
    })
}

/// SHA-256 of what a PEM certificate holds, lower-case hex.
fn fingerprint(pem: &str) -> Result<String, StateFault> {
    let bad = |fault: &dyn std::fmt::Display| StateFault::BadCa(fault.to_string());
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| bad(&e))?;
    let certificate = pem.parse_x509().map_err(|e| bad(&e))?;
    if !certificate.is_ca() {
        return Err(bad(&"it is not the certificate of a CA"));
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &pem.contents);
    Ok(data_encoding::HEXLOWER.encode(digest.as_ref()))
}

// The file as RKE writes it; what is not named here is skipped.

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "desiredState")]
    desired: Option<Half>,
    #[serde(rename = "currentState")]
    current: Option<Half>,
}

#[derive(Deserialize, Default)]
struct Half {
    #[serde(rename = "rkeConfig")]
    config: Option<Config>,
    #[serde(rename = "certificatesBundle")]
    bundle: Option<Bundle>,
}

#[derive(Deserialize)]
struct Config {
    nodes: Option<Vec<Host>>,
    #[serde(rename = "kubernetesVersion")]
    kubernetes_version: Option<String>,
}

impl Config {
    fn into_nodes(self) -> Vec<StateNode> {
        let read = |host: Host| StateNode {
            hostname: host.hostname.filter(|name| !name.is_empty()),
            roles: host.role.unwrap_or_default().iter().filter_map(|role| role.parse().ok()).collect(),
            address: host.address,
        };
        self.nodes.unwrap_or_default().into_iter().map(read).collect()
    }
}

#[derive(Deserialize)]
struct Host {
    #[serde(default)]
    address: String,
    #[serde(rename = "hostnameOverride")]
    hostname: Option<String>,
    role: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
struct Bundle(BTreeMap<String, Option<Certificate>>);

impl Bundle {
    fn ca_fingerprint(&self) -> Result<String, StateFault> {
        if self.0.is_empty() {
            return Err(StateFault::NoCertificates);
        }
        let ca = self.0.get("kube-ca").and_then(Option::as_ref).ok_or(StateFault::NoCa)?;
        let pem = ca.certificate.as_deref().filter(|pem| !pem.trim().is_empty()).ok_or(StateFault::NoCa)?;
        if !ca.has_key {
            return Err(StateFault::CaWithoutKey);
        }
        fingerprint(pem)
    }
}

#[derive(Deserialize)]
struct Certificate {
    #[serde(rename = "certificatePEM")]
    certificate: Option<String>,
    /// The key itself is not kept.
    #[serde(rename = "keyPEM", default, deserialize_with = "is_filled")]
    has_key: bool,
}

fn is_filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Filled;

    impl Visitor<'_> for Filled {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_str<E>(self, text: &str) -> Result<bool, E> {
            Ok(!text.trim().is_empty())
        }

        fn visit_unit<E>(self) -> Result<bool, E> {
            Ok(false)
        }
    }
    deserializer.deserialize_any(Filled)
}
