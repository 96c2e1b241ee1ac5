//! A root of trust: a self-signed certificate with its key.

use std::time::Duration;

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::mint::Mint;
use cratekube_common::runtime::tls;
use data_encoding::HEXLOWER;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

use super::{PkiError, keys};

/// Life of a root: it must outlive every cluster's own (ten years in RKE) to be a non-event.
const LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Certificates begin in the past, for clocks that are behind and for our own when it was ahead: what is
/// made while it is an hour fast must be good for agents that are ten minutes slow, also after ours was
/// put right. Otherwise nobody could connect until that hour has passed.
pub(super) const BACKDATE: Duration = Duration::from_secs(90 * 60);

/// A root of trust.
pub(super) struct Root {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) pem: String,
    /// SHA-256 of the certificate (DER), lower-case hex.
    pub(super) fingerprint: String,
}

impl Root {
    /// Makes one with a new key.
    ///
    /// # Errors
    /// When the crypto library cannot.
    pub(super) fn make(algorithm: KeyAlgorithm, now: Timestamp, mint: &Mint) -> Result<Self, PkiError> {
        let key = keys::make(algorithm)?;
        let mut params = CertificateParams::default();
        // Two that are trusted at the same time are told apart by their names too.
        let mut which = [0; 4];
        mint.fill(&mut which);
        let name = format!("CrateKube Cluster Management CA {}", HEXLOWER.encode(&which));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial(mint));
        (params.not_before, params.not_after) = validity(now, LIFE);
        let certificate = params.self_signed(&key)?;
        Self::of(certificate.der().clone(), certificate.pem(), key).map_err(PkiError::Make)
    }

    /// Puts a certificate and its key together. The PEM may hold more certificates; the first counts.
    ///
    /// # Errors
    /// When one cannot be read, or they do not belong together.
    pub(super) fn open(pem: &str, key: &Secret) -> Result<Self, RootFault> {
        let key = KeyPair::from_pem(key.expose()).map_err(|e| RootFault::Key(e.to_string()))?;
        let certificates = tls::certificates(pem.as_bytes()).map_err(RootFault::Certificate)?;
        let certificate = certificates.into_iter().next();
        let certificate = certificate.ok_or_else(|| RootFault::Certificate("it is empty".into()))?;
        let pem = first(pem);
        Self::of(certificate, pem, key).map_err(RootFault::Certificate)
    }

    fn of(certificate: CertificateDer<'static>, pem: String, key: KeyPair) -> Result<Self, String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).map_err(|e| e.to_string())?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err("it does not belong to the key".into());
        }
        let fingerprint = tls::fingerprint(&certificate);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| e.to_string())?;
        Ok(Self { issuer, certificate, pem, fingerprint })
    }

    /// The key, PKCS#8 PEM.
    pub(super) fn key(&self) -> Secret {
        Secret::new(self.issuer.key().serialize_pem())
    }

    /// Whether it signed a certificate.
    pub(super) fn signed(&self, certificate: &X509Certificate<'_>) -> bool {
        let Ok((_, own)) = x509_parser::parse_x509_certificate(&self.certificate) else { return false };
        certificate.issuer() == own.subject() && keys::signed(certificate, &own)
    }
}

/// Why a root cannot be used.
#[derive(Debug)]
pub(super) enum RootFault {
    /// Its key.
    Key(String),
    /// Its certificate.
    Certificate(String),
}

/// The first certificate of a PEM text, as text.
fn first(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let end = pem.find(END).map_or(pem.len(), |at| at + END.len());
    format!("{}\n", pem[..end].trim())
}

pub(super) fn serial(mint: &Mint) -> rcgen::SerialNumber {
    let mut bytes = [0; 16];
    mint.fill(&mut bytes);
    // Positive and without leading zero, as RFC 5280 asks.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    rcgen::SerialNumber::from_slice(&bytes)
}

pub(super) fn validity(now: Timestamp, life: Duration) -> (time::OffsetDateTime, time::OffsetDateTime) {
    let at = |ts: Timestamp| {
        let seconds = ts.as_millis().div_euclid(1_000);
        time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
    };
    let backdate_ms = i64::try_from(BACKDATE.as_millis()).unwrap_or(0);
    (at(Timestamp::from_millis(now.as_millis() - backdate_ms)), at(now.after(life)))
}
