//! The certificates of the listeners: kept fresh while they serve.
//!
//! One from our own authority is made anew when a third of its life is left, or when the authority's root is
//! exchanged; one from files is read
//! again when the files change, or when the operator says so by SIGHUP. No connection is dropped: the
//! next handshake shows the new one. What cannot be used is told and the old one stays.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::tls;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::tls::{Certificate, TlsError};
use crate::pki::PkiError;
use crate::pki::authority::Authority;
use crate::pki::issue::SERVER_LIFE;

/// Where a listener's certificate comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// Our own authority, for these names.
    Own(Vec<String>),
    /// PEM files: certificate chain and key.
    Files(PathBuf, PathBuf),
}

/// Why a listener has no certificate, or no new one.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// Our authority makes none.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// It cannot be used for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file.
    #[error("cannot use {path}: {fault}")]
    File {
        /// The file.
        path: String,
        /// Why.
        fault: String,
    },
}

/// A listener's certificate.
#[derive(Debug)]
pub struct Renewal {
    /// For logs: the listener.
    name: &'static str,
    source: Source,
    certificate: Arc<Certificate>,
    authority: Arc<Authority>,
    clock: Clock,
    /// What is in use: when to make another, or what the files held.
    seen: Mutex<Seen>,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Made by the root with this fingerprint, and when to make another.
    Made {
        root: String,
        due: Timestamp,
    },
    Digest(String),
}

type Material = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>, Seen);

impl Renewal {
    /// Makes or reads the first certificate.
    ///
    /// # Errors
    /// [`RenewalError`].
    pub fn new(
        name: &'static str,
        source: Source,
        authority: Arc<Authority>,
        clock: Clock,
    ) -> Result<Self, RenewalError> {
        let (chain, key, seen) = material(&source, &authority)?;
        let certificate = Certificate::new(chain, key)?;
        Ok(Self { name, source, certificate, authority, clock, seen: Mutex::new(seen) })
    }

    /// The certificate, for TLS.
    #[must_use]
    pub fn certificate(&self) -> Arc<Certificate> {
        Arc::clone(&self.certificate)
    }

    /// The listener's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// When the certificate in use ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        self.certificate.not_after()
    }

    /// Exchanges the certificate when it is time, when the authority's root was exchanged, or when its files
    /// changed. Answers whether it did.
    pub fn pass(&self) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |root: &str, due: Timestamp| self.clock.now() < due && root == self.authority.fingerprint();
        if matches!(&*seen, Seen::Made { root, due } if is_fresh(root, *due)) {
            return false;
        }
        let exchanged = self.exchange(&mut seen);
        match &exchanged {
            Ok(true) => tracing::info!(listener = self.name, "a new certificate is in use"),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(listener = self.name, %error, "the new certificate cannot be used; the old one stays");
            }
        }
        matches!(exchanged, Ok(true))
    }

    fn exchange(&self, seen: &mut Seen) -> Result<bool, RenewalError> {
        let (chain, key, found) = material(&self.source, &self.authority)?;
        if matches!(found, Seen::Digest(_)) && *seen == found {
            return Ok(false);
        }
        self.certificate.exchange(chain, key)?;
        *seen = found;
        Ok(true)
    }
}

fn material(source: &Source, authority: &Authority) -> Result<Material, RenewalError> {
    match source {
        Source::Own(names) => {
            let identity = authority.issue_server(names)?;
            let third = i64::try_from(SERVER_LIFE.as_millis() / 3).unwrap_or(0);
            let due = Timestamp::from_millis(identity.not_after.as_millis() - third);
            Ok((identity.chain, identity.key, Seen::Made { root: identity.issuer, due }))
        }
        Source::Files(certificate, key) => {
            let (pem, key_pem) = (read(certificate)?, read(key)?);
            let chain = tls::certificates(&pem).map_err(|e| fault(certificate, e))?;
            let digest = tls::sha256_hex(&[pem.as_slice(), &key_pem].concat());
            let key = tls::private_key(&key_pem).map_err(|e| fault(key, e))?;
            Ok((chain, key, Seen::Digest(digest)))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RenewalError> {
    std::fs::read(path).map_err(|e| fault(path, e.to_string()))
}

fn fault(path: &Path, fault: String) -> RenewalError {
    RenewalError::File { path: path.display().to_string(), fault }
}
