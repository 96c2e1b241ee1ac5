//! Making certificates: fixed profiles, nothing taken from a request but its public key.

use std::net::IpAddr;
use std::time::Duration;

use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls::sha256_hex;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::authority::Authority;
use super::root::{Root, serial, validity};
use super::{PkiError, keys};
use crate::store::CertificateFacts;

/// Life of an agent's certificate; renewed by itself long before.
pub const AGENT_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Life of a listener's certificate; made anew at every start and when a third of it is left.
pub const SERVER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// Identity of an agent in its certificate: this, then its id.
pub const AGENT_URI_PREFIX: &str = "spiffe://cratekube/agent/";

/// The attribute of a subject that carries an agent's generation (X.520 `serialNumber`).
const SERIAL_NUMBER: &[u64] = &[2, 5, 4, 5];

/// A certificate that was made.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// How many certificates its holder had with it, from 1.
    pub generation: u64,
    /// SHA-256 of the public key (DER), lower-case hex.
    pub key_sha256: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// Fingerprint of the root that made it.
    pub issuer: String,
    /// The certificate of that root.
    pub issuer_certificate: CertificateDer<'static>,
    /// Those that its holder is to trust.
    pub trust_bundle: Vec<CertificateDer<'static>>,
    /// Their fingerprints, in one word.
    pub trust: String,
}

impl Issued {
    /// What the store keeps of it.
    #[must_use]
    pub fn facts(&self) -> CertificateFacts {
        CertificateFacts {
            serial: self.serial.clone(),
            generation: self.generation,
            key_sha256: self.key_sha256.clone(),
            not_after: self.not_after,
            issuer: self.issuer.clone(),
            trust: self.trust.clone(),
        }
    }
}

struct Signed {
    certificate: CertificateDer<'static>,
    serial: String,
    not_after: Timestamp,
}

/// A listener's certificate with its key.
#[derive(Debug)]
pub struct ServerIdentity {
    /// Certificate first, then the authority's.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key.
    pub key: PrivateKeyDer<'static>,
    /// When it ends.
    pub not_after: Timestamp,
    /// Fingerprint of the root that made it.
    pub issuer: String,
}

impl Authority {
    /// Makes a client certificate for an agent from the public key in its request (PKCS#10, DER). It comes from the
    /// root that is pinned, while that is trusted: an agent that enrols knows no other. Otherwise from the root
    /// that stays.
    ///
    /// # Errors
    /// [`PkiError::Request`] when the request is not signed by its key or the key is of a kind or
    /// size that is not accepted.
    pub fn issue_agent(
        &self,
        csr: &[u8],
        id: AgentId,
        name: &AgentName,
        generation: u64,
        pinned: Option<&str>,
    ) -> Result<Issued, PkiError> {
        keys::check_request(csr, self.algorithm)?;
        let der = CertificateSigningRequestDer::from(csr);
        // rcgen would copy names, usages and even CA rights from the request: only the key is taken.
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|e| PkiError::Request(e.to_string()))?;
        let mut params = leaf(ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        // Survives a store that goes back to a backup, which the store's own count does not.
        params.distinguished_name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), generation.to_string());
        let uri = format!("{AGENT_URI_PREFIX}{id}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        let roots = self.roots();
        let root = pinned.and_then(|pin| roots.trusted_as(pin)).unwrap_or_else(|| roots.stays());
        let signed = self.sign(root, params, &request.public_key, AGENT_LIFE)?;
        Ok(Issued {
            certificate: signed.certificate,
            serial: signed.serial,
            generation,
            key_sha256: sha256_hex(&request.public_key.subject_public_key_info()),
            not_after: signed.not_after,
            issuer: root.fingerprint.clone(),
            issuer_certificate: root.certificate.clone(),
            trust_bundle: roots.trust_bundle(),
            trust: roots.trust().to_owned(),
        })
    }

    /// Makes a server certificate with a new key for a listener.
    ///
    /// # Errors
    /// [`PkiError::Make`] when a name is not usable.
    pub fn issue_server(&self, names: &[String]) -> Result<ServerIdentity, PkiError> {
        let key = keys::make(self.algorithm)?;
        let mut params = leaf(ExtendedKeyUsagePurpose::ServerAuth);
        params.distinguished_name.push(DnType::CommonName, "cratekube-controller");
        let san = |name: &String| match name.parse::<IpAddr>() {
            Ok(ip) => Ok(SanType::IpAddress(ip)),
            Err(_) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        };
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, PkiError>>()?;
        let roots = self.roots();
        let signed = self.sign(roots.shown(), params, &key, SERVER_LIFE)?;
        Ok(ServerIdentity {
            chain: vec![signed.certificate, roots.shown().certificate.clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            not_after: signed.not_after,
            issuer: roots.shown().fingerprint.clone(),
        })
    }

    fn sign(
        &self,
        root: &Root,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        life: Duration,
    ) -> Result<Signed, PkiError> {
        let serial = serial(&self.mint);
        let serial_hex = data_encoding::HEXLOWER.encode(&serial.to_bytes());
        params.serial_number = Some(serial);
        params.use_authority_key_identifier_extension = true;
        let now = self.clock.now();
        (params.not_before, params.not_after) = validity(now, life);
        let certificate = params.signed_by(key, &root.issuer)?.der().clone();
        Ok(Signed { certificate, serial: serial_hex, not_after: now.after(life) })
    }
}

fn leaf(usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

#[cfg(test)]
mod tests {
    use super::super::authority::tests::{load, load_with};
    use super::super::root::BACKDATE;
    use super::*;
    use cratekube_common::domain::key_algorithm::KeyAlgorithm;
    use rcgen::{BasicConstraints, KeyPair};
    use uuid::Uuid;
    use x509_parser::prelude::*;

    fn agent() -> (AgentId, AgentName) {
        (AgentId(Uuid::from_u128(7)), "bastion-1".parse().unwrap())
    }

    #[test]
    fn hostile_row_32_a_request_that_asks_for_ca_rights_gets_a_plain_client_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let authority = load(dir.path(), true, 1).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["controller".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "controller");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let csr = params.serialize_request(&key).unwrap();
        let (id, name) = agent();
        let issued = authority.issue_agent(csr.der(), id, &name, 3, None).unwrap();
        let (_, certificate) = parse_x509_certificate(&issued.certificate).unwrap();
        assert!(!certificate.is_ca());
        assert_eq!(certificate.subject().to_string(), "CN=bastion-1, serialNumber=3");
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        let san = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert!(matches!(san[..], [GeneralName::URI(uri)] if uri == format!("{AGENT_URI_PREFIX}{id}")));
        let life = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(u64::try_from(life).unwrap(), (AGENT_LIFE + BACKDATE).as_secs());
    }

    #[test]
    fn hostile_row_32_weak_keys_and_bad_signatures_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let authority = load(dir.path(), true, 1).unwrap();
        let (id, name) = agent();
        let refused = |csr: &[u8]| {
            matches!(authority.issue_agent(csr, id, &name, 1, None), Err(PkiError::Request(_) | PkiError::Key(_)))
        };
        let key = KeyPair::generate().unwrap();
        let good = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        assert!(authority.issue_agent(&good, id, &name, 1, None).is_ok());
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(refused(&forged) && refused(b"junk") && refused(&[]) && refused(&good[..good.len() - 1]));
        let trailing = [good.as_slice(), b"x"].concat();
        assert!(refused(&trailing));
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let weak = CertificateParams::default().serialize_request(&rsa).unwrap();
        assert!(refused(weak.der()));
        // 512 bits: no library here makes one any more.
        assert!(refused(include_bytes!("fixtures/rsa-512.csr.der")));
    }

    #[test]
    fn the_setting_says_what_is_made_and_the_least_that_is_certified() {
        let request = |key: &KeyPair| CertificateParams::default().serialize_request(key).unwrap().der().to_vec();
        let (p256, p384) = (keys::make(KeyAlgorithm::EcdsaP256).unwrap(), keys::make(KeyAlgorithm::EcdsaP384).unwrap());
        let rsa = keys::make(KeyAlgorithm::Rsa4096).unwrap();
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let (id, name) = agent();
        for (algorithm, accepted) in [
            (KeyAlgorithm::EcdsaP256, [true, true, true, true]),
            (KeyAlgorithm::EcdsaP384, [false, true, false, false]),
            (KeyAlgorithm::Rsa4096, [false, false, true, false]),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let authority = load_with(dir.path(), true, 1, algorithm).unwrap();
            for (key, accepted) in [&p256, &p384, &rsa, &ed25519].into_iter().zip(accepted) {
                let answer = authority.issue_agent(&request(key), id, &name, 1, None);
                assert_eq!(answer.is_ok(), accepted, "{algorithm}");
                if let Err(refused) = answer {
                    assert!(refused.to_string().contains(algorithm.as_str()), "it says what would do: {refused}");
                }
            }
            let server = authority.issue_server(&["localhost".to_owned()]).unwrap();
            for certificate in &server.chain {
                let (_, parsed) = parse_x509_certificate(certificate).unwrap();
                let bits = parsed.public_key().parsed().unwrap().key_size();
                let expected = match algorithm {
                    KeyAlgorithm::EcdsaP256 => 256,
                    KeyAlgorithm::EcdsaP384 => 384,
                    KeyAlgorithm::Rsa4096 => 4096,
                };
                assert_eq!(bits, expected, "{algorithm}");
            }
        }
    }
}
