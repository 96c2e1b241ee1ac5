//! When a cluster's certificates run out: read from RKE's state, without its keys.

use std::collections::BTreeMap;
use std::path::Path;

use cratekube_common::domain::cluster::health::CertificateExpiry;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use super::STATE;

/// The part of the state that is looked at; everything else, keys first, is skipped in reading.
#[derive(Deserialize)]
struct State {
    #[serde(rename = "currentState")]
    current: Half,
}

#[derive(Deserialize)]
struct Half {
    #[serde(rename = "certificatesBundle", default)]
    bundle: BTreeMap<String, Entry>,
    #[serde(rename = "rkeConfig", default)]
    config: serde_json::Value,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "certificatePEM", default)]
    certificate: String,
}

/// What RKE's state tells.
pub(super) struct Recorded {
    /// Every certificate in it.
    pub(super) certificates: Vec<CertificateExpiry>,
    /// `services`, as they were deployed.
    pub(super) services: serde_json::Value,
}

/// Reads a cluster's state.
///
/// # Errors
/// Why it cannot be read, without a part of it.
pub(super) fn recorded(working: &Path) -> Result<Recorded, String> {
    let bytes = std::fs::read(working.join(STATE)).map_err(|error| format!("{STATE} cannot be read: {error}"))?;
    let state: State = serde_json::from_slice(&bytes).map_err(|_| format!("{STATE} is not a state"))?;
    let Half { bundle, mut config } = state.current;
    let certificates = bundle.iter().filter_map(|(name, entry)| {
        let not_after = not_after_pem(entry.certificate.as_bytes())?;
        Some(CertificateExpiry { name: name.clone(), not_after })
    });
    Ok(Recorded { certificates: certificates.collect(), services: config["services"].take() })
}

/// When a certificate, as PEM, runs out.
pub(super) fn not_after_pem(pem: &[u8]) -> Option<Timestamp> {
    tls::not_after(&CertificateDer::from_pem_slice(pem).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_of_the_state_is_recorded_with_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a".into()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
        let state = serde_json::json!({"desiredState": {}, "currentState": {
            "rkeConfig": {"services": {"kubeApi": {"auditLog": {"enabled": true}}}},
            "certificatesBundle": {"kube-ca": {"certificatePEM": certificate, "keyPEM": "canary"}, "empty": {"certificatePEM": ""}}}});
        std::fs::write(dir.path().join(STATE), state.to_string()).unwrap();
        let found = recorded(dir.path()).unwrap();
        assert_eq!(found.certificates.len(), 1);
        assert_eq!(found.certificates[0].not_after.to_string(), "2031-05-06T00:00:00.000Z");
        assert_eq!(found.services["kubeApi"]["auditLog"]["enabled"], true);
    }

    #[test]
    fn a_state_that_is_not_there_or_torn_is_told_without_repeating_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(recorded(dir.path()).err().unwrap().contains("cannot be read"));
        std::fs::write(dir.path().join(STATE), "{\"currentState\": {\"canary").unwrap();
        assert_eq!(recorded(dir.path()).err().unwrap(), "cluster.rkestate is not a state");
    }
}
