//! State files as RKE writes them, for tests: real CAs, few words.

#![allow(unreachable_pub, clippy::unwrap_used)]

use cratekube_common::runtime::tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// A cluster's CA.
pub struct Ca {
    /// SHA-256 of its certificate.
    pub sha256: String,
    certificate: String,
    key: String,
}

/// Makes a CA.
pub fn ca(name: &str) -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    let sha256 = tls::fingerprint(certificate.der());
    Ca { sha256, certificate: certificate.pem(), key: key.serialize_pem() }
}

impl Ca {
    /// A whole state of a cluster with these hosts.
    pub fn state(&self, hosts: &[&str]) -> String {
        let node = |host: &&str| serde_json::json!({"address": host, "role": ["controlplane", "etcd", "worker"]});
        let half = serde_json::json!({
            "rkeConfig": {
                "nodes": hosts.iter().map(node).collect::<Vec<_>>(),
                "kubernetesVersion": "v1.30.14-rancher1-1",
            },
            "certificatesBundle": {"kube-ca": {"certificatePEM": self.certificate, "keyPEM": self.key}},
        });
        serde_json::json!({"desiredState": half, "currentState": half}).to_string()
    }
}
