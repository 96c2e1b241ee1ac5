//! The certificate authority: made on the first start, used ever after.
//!
//! `ca.pem` is public; `ca.key.sealed` is the private key under the master key. The trust bundle is a
//! list from the start, so that a second authority can be trusted during a later rotation.

use std::path::Path;
use std::time::Duration;

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock::Clock, files, mint::Mint, tls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;

use super::{PkiError, keys};
use crate::keys::Envelope;

pub(crate) const CERTIFICATE: &str = "ca.pem";
/// Name of the file with the sealed key.
pub(crate) const KEY: &str = "ca.key.sealed";
/// What the key is sealed for.
pub(crate) const CONTEXT: &[u8] = b"pki/ca";
/// Life of the authority: it must outlive every cluster's own (ten years in RKE) to be a non-event.
const LIFE: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Certificates begin in the past, for clocks that are behind and for our own when it was ahead: what is
/// made while it is an hour fast must be good for agents that are ten minutes slow, also after ours was
/// put right. Otherwise nobody could connect until that hour has passed.
pub(super) const BACKDATE: Duration = Duration::from_secs(90 * 60);

/// The certificate authority.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// Of the keys that it makes, and the least that it certifies.
    pub(super) algorithm: KeyAlgorithm,
    pub(super) clock: Clock,
    pub(super) mint: Mint,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads the authority, or makes it when the data directory is new and has none.
    ///
    /// # Errors
    /// [`PkiError::Unusable`] when it should be there and cannot be read: it is never made anew.
    pub fn load(
        data: &Path,
        is_new: bool,
        algorithm: KeyAlgorithm,
        envelope: &Envelope,
        clock: Clock,
        mint: Mint,
    ) -> Result<Self, PkiError> {
        let read = |name: &str| {
            let path = data.join(name);
            let file = |source| PkiError::File { path: path.display().to_string(), source };
            files::read_optional(&path).map_err(file)
        };
        match (read(CERTIFICATE)?, read(KEY)?) {
            (Some(pem), Some(sealed)) => Self::open(data, (&pem, &sealed), algorithm, envelope, clock, mint),
            // A first start that was killed between its two files left the key only.
            (None, _) if is_new => Self::make(data, algorithm, envelope, clock, mint),
            (None, _) => Err(unusable(data, CERTIFICATE, "it is missing")),
            (Some(_), None) => Err(unusable(data, KEY, "it is missing")),
        }
    }

    fn open(
        data: &Path,
        (pem, sealed): (&[u8], &[u8]),
        algorithm: KeyAlgorithm,
        envelope: &Envelope,
        clock: Clock,
        mint: Mint,
    ) -> Result<Self, PkiError> {
        let key = envelope.open(CONTEXT, sealed).map_err(|e| unusable(data, KEY, &e.to_string()))?;
        let key = std::str::from_utf8(&key).map_err(|e| unusable(data, KEY, &e.to_string()))?;
        let key = KeyPair::from_pem(key).map_err(|e| unusable(data, KEY, &e.to_string()))?;
        let certificates = tls::certificates(pem).map_err(|e| unusable(data, CERTIFICATE, &e))?;
        let certificate = certificates.into_iter().next().ok_or_else(|| unusable(data, CERTIFICATE, "it is empty"))?;
        check_pair(&certificate, &key).map_err(|e| unusable(data, CERTIFICATE, &e))?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|e| unusable(data, CERTIFICATE, &e.to_string()))?;
        let pem = String::from_utf8_lossy(pem).into_owned();
        Ok(Self { issuer, certificate, pem, algorithm, clock, mint })
    }

    fn make(
        data: &Path,
        algorithm: KeyAlgorithm,
        envelope: &Envelope,
        clock: Clock,
        mint: Mint,
    ) -> Result<Self, PkiError> {
        let key = keys::make(algorithm)?;
        let now = clock.now();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CrateKube Cluster Management CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial(&mint));
        (params.not_before, params.not_after) = validity(now, LIFE);
        let certificate = params.self_signed(&key)?;
        let write = |name: &str, content: &[u8]| {
            let path = data.join(name);
            let file = |source| PkiError::File { path: path.display().to_string(), source };
            files::write_atomic(&path, content).map_err(file)
        };
        write(KEY, &envelope.seal(CONTEXT, key.serialize_pem().as_bytes()))?;
        write(CERTIFICATE, certificate.pem().as_bytes())?;
        let pem = certificate.pem();
        let certificate = certificate.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate, pem, algorithm, clock, mint })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The authority's certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The kind of keys that it makes, and the least that it certifies.
    #[must_use]
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Why the authority's own key is not what the settings ask for, when it is not: it was made before
    /// they were changed, and is never made anew by itself.
    #[must_use]
    pub fn differs_from_settings(&self) -> Option<String> {
        let (own, wanted) = (keys::of(&self.certificate), self.algorithm);
        (own != Some(wanted)).then(|| {
            let own = own.map_or("of another kind", KeyAlgorithm::as_str);
            format!(
                "the authority's own key is {own} although pki.key_algorithm is {wanted}: it was made before the \
                 setting, and stays; what it certifies from now on is {wanted}"
            )
        })
    }

    /// Certificates that agents and controllers trust.
    #[must_use]
    pub fn trust_bundle(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// When its certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        tls::not_after(&self.certificate)
    }

    /// SHA-256 of the certificate (DER), lower-case hex: what join tokens carry.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        tls::fingerprint(&self.certificate)
    }
}

fn check_pair(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<(), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|e| e.to_string())?;
    if parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw() {
        return Ok(());
    }
    Err(format!("it does not belong to the key in {KEY}"))
}

fn unusable(data: &Path, name: &str, fault: &str) -> PkiError {
    PkiError::Unusable { path: data.join(name).display().to_string(), fault: fault.to_owned() }
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use cratekube_common::runtime::clock::{self, ManualClock};
    use zeroize::Zeroizing;

    pub(in crate::pki) fn envelope(byte: u8) -> Envelope {
        Envelope::new(&Zeroizing::new(vec![byte; 32]), Mint::system(clock::system())).unwrap()
    }

    pub(in crate::pki) fn load(data: &Path, is_new: bool, byte: u8) -> Result<Authority, PkiError> {
        load_with(data, is_new, byte, KeyAlgorithm::EcdsaP256)
    }

    pub(in crate::pki) fn load_with(
        data: &Path,
        is_new: bool,
        byte: u8,
        algorithm: KeyAlgorithm,
    ) -> Result<Authority, PkiError> {
        let clock = clock::system();
        Authority::load(data, is_new, algorithm, &envelope(byte), clock.clone(), Mint::system(clock))
    }

    #[test]
    fn hostile_row_48_what_is_made_while_the_clock_is_an_hour_ahead_is_good_when_it_was_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let now = Timestamp::from_millis(1_795_000_000_000);
        let clock = ManualClock::at(now);
        clock.jump(3_600_000);
        let mint = Mint::system(clock.clone());
        let authority = Authority::load(dir.path(), true, KeyAlgorithm::EcdsaP256, &envelope(1), clock, mint).unwrap();
        let listener = authority.issue_server(&["localhost".to_owned()]).unwrap();
        for certificate in &listener.chain {
            let (_, read) = x509_parser::parse_x509_certificate(certificate).unwrap();
            let slow_agent = now.as_millis() / 1_000 - 600;
            assert!(read.validity().not_before.timestamp() <= slow_agent, "{:?}", read.validity());
        }
    }

    #[test]
    fn an_authority_that_is_not_what_the_settings_ask_for_stays_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path(), true, 1).unwrap();
        assert_eq!(first.differs_from_settings(), None);
        for wanted in [KeyAlgorithm::EcdsaP384, KeyAlgorithm::Rsa4096] {
            let later = load_with(dir.path(), false, 1, wanted).unwrap();
            let said = later.differs_from_settings().unwrap();
            assert!(said.contains("is ecdsa-p256 although") && said.contains(wanted.as_str()), "{said}");
            assert_eq!(later.fingerprint(), first.fingerprint());
        }
    }

    #[test]
    fn hostile_row_40_the_authority_is_made_once_and_never_anew() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(dir.path(), true, 1).unwrap().fingerprint();
        assert_eq!(load(dir.path(), false, 1).unwrap().fingerprint(), first);
        assert!(load(dir.path(), false, 2).unwrap_err().to_string().contains("another master key"));
        for name in [CERTIFICATE, KEY] {
            let path = dir.path().join(name);
            let content = std::fs::read(&path).unwrap();
            for broken in [&b""[..], &content[..content.len() / 2], b"garbage"] {
                std::fs::write(&path, broken).unwrap();
                assert!(load(dir.path(), false, 1).is_err());
                assert_eq!(std::fs::read(&path).unwrap(), broken, "nothing is overwritten");
            }
            std::fs::remove_file(&path).unwrap();
            assert!(load(dir.path(), false, 1).is_err());
            std::fs::write(&path, content).unwrap();
        }
        assert_eq!(load(dir.path(), false, 1).unwrap().fingerprint(), first);
    }
}
