//! TLS values that both sides need: the one crypto provider, fingerprints, PEM.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::clock::Clock;
use crate::domain::time::Timestamp;

/// The crypto provider used everywhere.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// SHA-256 of bytes, lower-case hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Fingerprint of a certificate: SHA-256 of its DER form, lower-case hex.
#[must_use]
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    sha256_hex(certificate.as_ref())
}

/// When a certificate ends; none when it cannot be read.
#[must_use]
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Timestamp::from_millis(parsed.validity().not_after.timestamp().saturating_mul(1_000)))
}

/// Reads every certificate in a PEM text.
///
/// # Errors
/// A sentence when the text is not PEM or holds no certificate.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|e| format!("not a PEM certificate: {e}"))?;
    if read.is_empty() {
        return Err("holds no certificate".into());
    }
    Ok(read)
}

/// Reads the private key in a PEM text.
///
/// # Errors
/// A sentence when there is none.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| format!("not a PEM private key: {e}"))
}

/// The one source of time, as rustls asks for it.
#[must_use]
pub fn time(clock: &Clock) -> Arc<dyn TimeProvider> {
    Arc::new(ClockTime(Arc::clone(clock)))
}

/// The time on a clock, as certificates are checked against it.
#[must_use]
pub fn unix_time(clock: &Clock) -> UnixTime {
    let ms = u64::try_from(clock.now().as_millis()).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_millis(ms))
}

#[derive(Debug)]
struct ClockTime(Clock);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(&self.0))
    }
}
