//! The certificate authority: made on the first start, used ever after, its root exchanged by rotation.
//!
//! `ca.pem` is public: whom to trust. `ca.key.sealed` is the private key under the master key. While the root
//! is rotated, both of them are in `ca.rotation.sealed`, which alone counts then: it is written whole, and each
//! phase is that one write. What a kill leaves undone after it is made up for by the next start.

mod disk;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock::Clock, files, mint::Mint, tls};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

use super::root::Root;
use super::{PkiError, keys};
use crate::keys::Envelope;
use crate::plan::ca_rotation::{self, Change, Phase, Progress, Step};

pub(crate) use disk::{CERTIFICATE, CONTEXT, FILES, Files, KEY, ROTATION, ROTATION_CONTEXT};
use disk::{file, keep, keep_both, open, open_both, unusable};

/// The certificate authority.
pub struct Authority {
    data: PathBuf,
    envelope: Arc<Envelope>,
    roots: RwLock<Arc<Roots>>,
    /// One step at a time.
    turn: Mutex<()>,
    /// Of the keys that it makes, and the least that it certifies.
    pub(super) algorithm: KeyAlgorithm,
    pub(super) clock: Clock,
    pub(super) mint: Mint,
}

/// The root, or both of them.
#[derive(Clone)]
pub(super) struct Roots {
    /// The one that stays.
    stays: Arc<Root>,
    /// The one that goes, and how far that is.
    goes: Option<(Arc<Root>, Progress)>,
    /// Whom an agent that has the bundle trusts, in one word that does not depend on their order.
    trust: String,
}

/// A root as it is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootNow {
    /// SHA-256 of its certificate (DER), lower-case hex: what join tokens carry.
    pub fingerprint: String,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// The same, as PEM.
    pub pem: String,
    /// What kind of key it has; none when of a kind that is not made here.
    pub algorithm: Option<KeyAlgorithm>,
    /// When its certificate ends.
    pub not_after: Option<Timestamp>,
}

/// The authority at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityNow {
    /// The one that stays, or the only one.
    pub stays: RootNow,
    /// The one that goes, when there is one.
    pub goes: Option<RootNow>,
    /// How far the rotation is.
    pub progress: Option<Progress>,
    /// Fingerprint of the one whose certificates listeners show.
    pub shown: String,
}

impl Roots {
    fn new(stays: Arc<Root>, goes: Option<(Arc<Root>, Progress)>) -> Self {
        let mut roots = Self { stays, goes, trust: String::new() };
        let mut trusted: Vec<&str> = roots.trusted().into_iter().map(|root| root.fingerprint.as_str()).collect();
        trusted.sort_unstable();
        roots.trust = trusted.join(" ");
        roots
    }

    fn only(root: Root) -> Self {
        Self::new(Arc::new(root), None)
    }

    fn phase(&self) -> Option<Phase> {
        self.goes.as_ref().map(|(_, progress)| progress.phase)
    }

    /// The one whose certificates listeners show.
    pub(super) fn shown(&self) -> &Root {
        match &self.goes {
            Some((old, Progress { phase: Phase::Introduced, .. })) => old,
            _ => &self.stays,
        }
    }

    /// The one that certifies agents when they renew.
    pub(super) fn stays(&self) -> &Root {
        &self.stays
    }

    /// Those that are trusted, the one that is shown first.
    pub(super) fn trusted(&self) -> Vec<&Root> {
        match &self.goes {
            None | Some((_, Progress { phase: Phase::Finishing, .. })) => vec![&self.stays],
            Some((old, Progress { phase: Phase::Introduced, .. })) => vec![old, &self.stays],
            Some((old, Progress { phase: Phase::Switched, .. })) => vec![&self.stays, old],
        }
    }

    /// The one with this fingerprint, if it is trusted.
    pub(super) fn trusted_as(&self, fingerprint: &str) -> Option<&Root> {
        self.trusted().into_iter().find(|root| root.fingerprint == fingerprint)
    }

    pub(super) fn trust_bundle(&self) -> Vec<CertificateDer<'static>> {
        self.trusted().into_iter().map(|root| root.certificate.clone()).collect()
    }

    pub(super) fn trust(&self) -> &str {
        &self.trust
    }

    fn pem(&self) -> String {
        self.trusted().into_iter().map(|root| root.pem.as_str()).collect()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads the authority, or makes it when the data directory is new and has none. Changes nothing that is
    /// there; see [`Self::settle`].
    ///
    /// # Errors
    /// [`PkiError::Unusable`] when it should be there and cannot be read: it is never made anew.
    pub fn load(
        data: &Path,
        is_new: bool,
        algorithm: KeyAlgorithm,
        envelope: &Arc<Envelope>,
        clock: Clock,
        mint: Mint,
    ) -> Result<Self, PkiError> {
        let roots = match Files::read(data)? {
            Files { rotation: Some(sealed), .. } => open_both(data, &sealed, envelope)?,
            Files { certificate: Some(pem), key: Some(sealed), .. } => {
                Roots::only(open(data, (&pem, &sealed), envelope)?)
            }
            // A first start that was killed between its two files left the key only.
            Files { certificate: None, .. } if is_new => {
                let root = Root::make(algorithm, clock.now(), &mint)?;
                keep(data, &root, envelope)?;
                Roots::only(root)
            }
            Files { certificate: None, .. } => return Err(unusable(data, CERTIFICATE, "it is missing")),
            Files { key: None, .. } => return Err(unusable(data, KEY, "it is missing")),
        };
        let (data, envelope) = (data.to_owned(), Arc::clone(envelope));
        Ok(Self { data, envelope, roots: RwLock::new(Arc::new(roots)), turn: Mutex::default(), algorithm, clock, mint })
    }

    pub(super) fn roots(&self) -> Arc<Roots> {
        Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a step of a rotation. `trust` is told whom to trust before anything is certified by a new root; it
    /// holds from the next handshake on. Answers whether anything changed.
    ///
    /// # Errors
    /// [`PkiError`]. When it is not [`PkiError::Step`], the step may have been taken all the same, and can be
    /// repeated.
    pub fn take(
        &self,
        step: Step,
        trust: impl FnOnce(Vec<CertificateDer<'static>>) -> Result<(), String>,
    ) -> Result<bool, PkiError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.roots();
        let (now, progress) = (self.clock.now(), before.goes.as_ref().map(|(_, progress)| *progress));
        let after = match (ca_rotation::change(progress, step, now)?, &before.goes) {
            (Change::New(progress), _) => {
                let made = Arc::new(Root::make(self.algorithm, now, &self.mint)?);
                Roots::new(made, Some((Arc::clone(&before.stays), progress)))
            }
            (Change::On(progress), Some((goes, _))) => {
                Roots::new(Arc::clone(&before.stays), Some((Arc::clone(goes), progress)))
            }
            (Change::Exchanged(progress), Some((goes, _))) => {
                Roots::new(Arc::clone(goes), Some((Arc::clone(&before.stays), progress)))
            }
            (Change::Nothing | Change::On(_) | Change::Exchanged(_), _) => {
                self.settle_roots(&before)?;
                return Ok(false);
            }
        };
        keep_both(&self.data, &after, &self.envelope)?;
        trust(after.trust_bundle()).map_err(PkiError::Make)?;
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after.clone());
        self.settle_roots(&after)?;
        Ok(true)
    }

    /// Brings the files to where the rotation is: `ca.pem` to whom is to be trusted, and after the last step
    /// everything to the root that stays. For the one controller that serves from the directory.
    ///
    /// # Errors
    /// [`PkiError::File`]; it can be repeated.
    pub fn settle(&self) -> Result<(), PkiError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.settle_roots(&self.roots())
    }

    fn settle_roots(&self, roots: &Roots) -> Result<(), PkiError> {
        let at = self.data.join(CERTIFICATE);
        match roots.phase() {
            None => Ok(()),
            Some(Phase::Introduced | Phase::Switched) => {
                let pem = roots.pem();
                let found = files::read_optional(&at).map_err(|source| file(&at, source))?;
                if found.as_deref() == Some(pem.as_bytes()) {
                    return Ok(());
                }
                files::write_atomic(&at, pem.as_bytes()).map_err(|source| file(&at, source))
            }
            Some(Phase::Finishing) => {
                keep(&self.data, &roots.stays, &self.envelope)?;
                let at = self.data.join(ROTATION);
                files::remove(&at).and_then(|()| files::sync_dir(&self.data)).map_err(|source| file(&at, source))?;
                let only = Roots::new(Arc::clone(&roots.stays), None);
                *self.roots.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(only);
                Ok(())
            }
        }
    }

    /// The authority as it is now.
    #[must_use]
    pub fn now(&self) -> AuthorityNow {
        let roots = self.roots();
        let goes = roots.goes.as_ref();
        AuthorityNow {
            stays: RootNow::of(&roots.stays),
            goes: goes.map(|(root, _)| RootNow::of(root)),
            progress: goes.map(|(_, progress)| *progress),
            shown: roots.shown().fingerprint.clone(),
        }
    }

    /// Certificates of those that are trusted, as PEM; the one that listeners show first.
    #[must_use]
    pub fn pem(&self) -> String {
        self.roots().pem()
    }

    /// Fingerprint and certificate (PEM) of the root that listeners' certificates come from.
    #[must_use]
    pub fn shown(&self) -> (String, String) {
        let roots = self.roots();
        (roots.shown().fingerprint.clone(), roots.shown().pem.clone())
    }

    /// Fingerprint of that root: what join tokens carry.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.roots().shown().fingerprint.clone()
    }

    /// When that certificate ends.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        tls::not_after(&self.roots().shown().certificate)
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
        let (own, wanted) = (keys::of(&self.roots().stays.certificate), self.algorithm);
        (own != Some(wanted)).then(|| {
            let own = own.map_or("of another kind", KeyAlgorithm::as_str);
            format!(
                "the authority's own key is {own} although pki.key_algorithm is {wanted}: it was made before the \
                 setting, and stays until it is rotated (`cratekube ca rotate`); what it certifies from now on is \
                 {wanted}"
            )
        })
    }

    /// Certificates that agents and controllers trust.
    #[must_use]
    pub fn trust_bundle(&self) -> Vec<CertificateDer<'static>> {
        self.roots().trust_bundle()
    }

    /// Fingerprint of the root that signed a certificate; none when that is not trusted now.
    #[must_use]
    pub fn issuer_of(&self, certificate: &X509Certificate<'_>) -> Option<String> {
        let roots = self.roots();
        let issuer = roots.trusted().into_iter().find(|root| root.signed(certificate));
        issuer.map(|root| root.fingerprint.clone())
    }

    /// Whether this root is trusted now.
    #[must_use]
    pub fn trusts(&self, fingerprint: &str) -> bool {
        self.roots().trusted().into_iter().any(|root| root.fingerprint == fingerprint)
    }

    /// Whether this root is the one that stays.
    #[must_use]
    pub fn stays(&self, fingerprint: &str) -> bool {
        self.roots().stays.fingerprint == fingerprint
    }

    /// What agents are certified by and told to trust now, in one word.
    #[must_use]
    pub fn current(&self) -> String {
        let roots = self.roots();
        format!("{}: {}", roots.stays.fingerprint, roots.trust())
    }

    /// Whether an agent's certificate is what it would get now: from the root that stays, and with the same to
    /// be trusted.
    #[must_use]
    pub fn is_current(&self, issuer: &str, trust: &str) -> bool {
        let roots = self.roots();
        roots.stays.fingerprint == issuer && roots.trust() == trust
    }
}

impl RootNow {
    fn of(root: &Root) -> Self {
        Self {
            fingerprint: root.fingerprint.clone(),
            certificate: root.certificate.clone(),
            pem: root.pem.clone(),
            algorithm: keys::of(&root.certificate),
            not_after: tls::not_after(&root.certificate),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
