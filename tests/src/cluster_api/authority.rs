//! What the fleet knows of the cluster at an address, and TLS as its API server serves it.

use std::io;
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use crate::rehearsal::fleet::{Fleet, HostFault, LiveCluster};

/// A cluster whose API server runs at some address.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Fingerprint of its CA.
    pub(crate) ca: String,
    /// What it knows of itself.
    pub(crate) live: LiveCluster,
    /// The state that it keeps a copy of.
    pub(crate) state: Value,
}

/// Why nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing listens there.
    Refused,
    /// Packets vanish.
    Unreachable,
}

impl Standing {
    /// The cluster at an address.
    pub(crate) fn at(fleet: &Fleet, address: &str) -> Result<Standing, Silence> {
        let host = fleet.host(address);
        if host.fault.is_some_and(HostFault::cuts_off) {
            return Err(Silence::Unreachable);
        }
        let ca = host
            .ca
            .filter(|_| host.containers.get("kube-apiserver") == Some(&crate::rehearsal::fleet::Container::Running));
        let ca = ca.ok_or(Silence::Refused)?;
        let state = fleet.saved_state(&ca).ok_or(Silence::Refused)?;
        let state = serde_json::from_slice(&state).map_err(|_| Silence::Refused)?;
        let live = fleet.cluster(&ca).unwrap_or_default();
        Ok(Standing { ca, live, state })
    }

    /// What `rke` made of cluster.yml, with its defaults.
    pub(crate) fn config(&self) -> &Value {
        &self.state["currentState"]["rkeConfig"]
    }

    /// `v1.28.12`, of `v1.28.12-rancher1-1`.
    pub(crate) fn version(&self) -> String {
        let version = self.config()["kubernetesVersion"].as_str().unwrap_or_default();
        version.split('-').next().unwrap_or_default().to_owned()
    }

    /// TLS with the cluster's own certificate, for clients with certificates of its CA or with none.
    pub(crate) fn tls(&self) -> io::Result<Arc<ServerConfig>> {
        let bundle = &self.state["currentState"]["certificatesBundle"];
        let pem = |entry: &str, field: &str| bundle[entry][field].as_str().unwrap_or_default().to_owned();
        let bad = |error: String| io::Error::new(io::ErrorKind::InvalidData, error);
        let certificate = |entry: &str| {
            CertificateDer::from_pem_slice(pem(entry, "certificatePEM").as_bytes()).map_err(|e| bad(e.to_string()))
        };
        let key = PrivateKeyDer::from_pem_slice(pem("kube-apiserver", "keyPEM").as_bytes())
            .map_err(|e| bad(e.to_string()))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate("kube-ca")?).map_err(|e| bad(e.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(|e| bad(e.to_string()))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(e.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate("kube-apiserver")?], key)
            .map_err(|e| bad(e.to_string()))?;
        Ok(Arc::new(config))
    }
}
