//! Making certificates: fixed profiles, nothing taken from a request but its public key.

use std::net::IpAddr;
use std::time::Duration;

use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls::sha256_hex;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::PkiError;
use super::authority::{Authority, serial, validity};
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
    /// How many certificates its holder had with it; 0 for a listener's.
    pub generation: u64,
    /// SHA-256 of the public key (DER), lower-case hex.
    pub key_sha256: String,
    /// When it ends.
    pub not_after: Timestamp,
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
        }
    }
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
}

impl Authority {
    /// Makes a client certificate for an agent from the public key in its request (PKCS#10, DER).
    ///
    /// # Errors
    /// [`PkiError::Request`] when the request is not signed by its key or the key is of a kind or
    /// size that is not accepted.
    pub fn issue_agent(&self, csr: &[u8], id: AgentId, name: &AgentName, generation: u64) -> Result<Issued, PkiError> {
        check_request(csr)?;
        let der = CertificateSigningRequestDer::from(csr);
        // rcgen would copy names, usages and even CA rights from the request: only the key is taken.
        let request = CertificateSigningRequestParams::from_der(&der).map_err(|e| PkiError::Request(e.to_string()))?;
        let mut params = leaf(ExtendedKeyUsagePurpose::ClientAuth);
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        // Survives a store that goes back to a backup, which the store's own count does not.
        params.distinguished_name.push(DnType::CustomDnType(SERIAL_NUMBER.to_vec()), generation.to_string());
        let uri = format!("{AGENT_URI_PREFIX}{id}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
        let issued = self.sign(params, &request.public_key, AGENT_LIFE)?;
        Ok(Issued { generation, ..issued })
    }

    /// Makes a server certificate with a new key for a listener.
    ///
    /// # Errors
    /// [`PkiError::Make`] when a name is not usable.
    pub fn issue_server(&self, names: &[String]) -> Result<ServerIdentity, PkiError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = leaf(ExtendedKeyUsagePurpose::ServerAuth);
        params.distinguished_name.push(DnType::CommonName, "cratekube-controller");
        let san = |name: &String| match name.parse::<IpAddr>() {
            Ok(ip) => Ok(SanType::IpAddress(ip)),
            Err(_) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        };
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, PkiError>>()?;
        let issued = self.sign(params, &key, SERVER_LIFE)?;
        Ok(ServerIdentity {
            chain: vec![issued.certificate, self.certificate().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            not_after: issued.not_after,
        })
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        life: Duration,
    ) -> Result<Issued, PkiError> {
        let serial = serial(&self.mint);
        let serial_hex = data_encoding::HEXLOWER.encode(&serial.to_bytes());
        params.serial_number = Some(serial);
        params.use_authority_key_identifier_extension = true;
        let now = self.clock.now();
        (params.not_before, params.not_after) = validity(now, life);
        let certificate = params.signed_by(key, &self.issuer)?.der().clone();
        let key_sha256 = sha256_hex(&key.subject_public_key_info());
        Ok(Issued { certificate, serial: serial_hex, generation: 0, key_sha256, not_after: now.after(life) })
    }
}

fn leaf(usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params
}

/// A request must be signed by its own key, and the key must be one we accept: ECDSA P-256 or P-384,
/// Ed25519, RSA from 3072 bits.
fn check_request(csr: &[u8]) -> Result<(), PkiError> {
    use x509_parser::public_key::PublicKey;
    let refuse = |why: &str| PkiError::Request(why.to_owned());
    let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|e| PkiError::Request(e.to_string()))?;
    if !rest.is_empty() {
        return Err(refuse("it has trailing bytes"));
    }
    let key = request.certification_request_info.subject_pki.parsed();
    let (algorithm, message): (&dyn aws_lc_rs::signature::VerificationAlgorithm, _) = match (
        key.map_err(|_| refuse("its key cannot be read"))?,
        request.signature_algorithm.algorithm.to_id_string(),
    ) {
        (PublicKey::EC(point), id) if id == "1.2.840.10045.4.3.2" && point.key_size() == 256 => {
            (&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, request.certification_request_info.raw)
        }
        (PublicKey::EC(point), id) if id == "1.2.840.10045.4.3.3" && point.key_size() == 384 => {
            (&aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1, request.certification_request_info.raw)
        }
        (PublicKey::RSA(rsa), id) if id == "1.2.840.113549.1.1.11" && rsa.key_size() >= 3072 => {
            (&aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256, request.certification_request_info.raw)
        }
        (_, id) if id == "1.3.101.112" => (&aws_lc_rs::signature::ED25519, request.certification_request_info.raw),
        _ => return Err(refuse("its key is of a kind or size that is not accepted; use ECDSA P-256")),
    };
    let public = &request.certification_request_info.subject_pki.subject_public_key.data;
    aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, public)
        .verify(message, &request.signature_value.data)
        .map_err(|_| refuse("it is not signed by its own key"))
}

#[cfg(test)]
mod tests {
    use super::super::authority::tests::load;
    use super::*;
    use rcgen::BasicConstraints;
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
        let issued = authority.issue_agent(csr.der(), id, &name, 3).unwrap();
        let (_, certificate) = parse_x509_certificate(&issued.certificate).unwrap();
        assert!(!certificate.is_ca());
        assert_eq!(certificate.subject().to_string(), "CN=bastion-1, serialNumber=3");
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        let san = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert!(matches!(san[..], [GeneralName::URI(uri)] if uri == format!("{AGENT_URI_PREFIX}{id}")));
        let life = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
        assert_eq!(life, 24 * 3600 + 300);
    }

    #[test]
    fn hostile_row_32_weak_keys_and_bad_signatures_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let authority = load(dir.path(), true, 1).unwrap();
        let (id, name) = agent();
        let key = KeyPair::generate().unwrap();
        let good = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        assert!(authority.issue_agent(&good, id, &name, 1).is_ok());
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(matches!(authority.issue_agent(&forged, id, &name, 1), Err(PkiError::Request(_))));
        let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let weak = CertificateParams::default().serialize_request(&rsa).unwrap();
        assert!(matches!(authority.issue_agent(weak.der(), id, &name, 1), Err(PkiError::Request(_))));
        assert!(authority.issue_agent(b"junk", id, &name, 1).is_err());
    }
}
