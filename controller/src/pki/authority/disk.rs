//! The authority's files.

use std::path::Path;
use std::sync::Arc;

use cratekube_common::domain::secret::Secret;
use cratekube_common::runtime::{files, tls};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Roots;
use crate::keys::Envelope;
use crate::pki::PkiError;
use crate::pki::root::{Root, RootFault};
use crate::plan::ca_rotation::Progress;

pub(crate) const CERTIFICATE: &str = "ca.pem";
/// Name of the file with the sealed key.
pub(crate) const KEY: &str = "ca.key.sealed";
/// What the key is sealed for.
pub(crate) const CONTEXT: &[u8] = b"pki/ca";
/// Name of the file with both roots, while they are rotated.
pub(crate) const ROTATION: &str = "ca.rotation.sealed";
/// What that is sealed for.
pub(crate) const ROTATION_CONTEXT: &[u8] = b"pki/ca-rotation";
/// Names of all of them.
pub(crate) const FILES: &[&str] = &[ROTATION, CERTIFICATE, KEY];
const FORMAT: u32 = 1;

/// Both roots in their file. Its `Debug` is not derived, for it holds the keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    progress: Progress,
    stays: Pair,
    goes: Pair,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    certificate_pem: String,
    key_pem: String,
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _wiped = Secret::new(std::mem::take(&mut self.key_pem));
    }
}

impl Pair {
    fn of(root: &Root) -> Self {
        Self { certificate_pem: root.pem.clone(), key_pem: root.key().expose().to_owned() }
    }

    fn open(&self) -> Result<Arc<Root>, String> {
        let opened = Root::open(&self.certificate_pem, &Secret::new(self.key_pem.clone()));
        opened.map(Arc::new).map_err(|(RootFault::Key(fault) | RootFault::Certificate(fault))| fault)
    }
}

/// The authority's files, as they were at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Files {
    pub(super) rotation: Option<Vec<u8>>,
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
}

impl Files {
    /// Reads them beside a controller that may take a step meanwhile: what is read while the file of the rotation
    /// stays the same belongs together.
    ///
    /// # Errors
    /// [`PkiError::File`].
    pub(crate) fn read(data: &Path) -> Result<Self, PkiError> {
        let read = |name: &str| {
            let path = data.join(name);
            files::read_optional(&path).map_err(|source| file(&path, source))
        };
        let mut rotation = read(ROTATION)?;
        loop {
            let (certificate, key) = (read(CERTIFICATE)?, read(KEY)?);
            let again = read(ROTATION)?;
            if again == rotation {
                return Ok(Self { rotation, certificate, key });
            }
            rotation = again;
        }
    }

    /// Those that there are, by name.
    pub(crate) fn present(self) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
        let Self { rotation, certificate, key } = self;
        [(ROTATION, rotation), (CERTIFICATE, certificate), (KEY, key)]
            .into_iter()
            .filter_map(|(name, content)| Some((name, content?)))
    }
}

pub(super) fn open(data: &Path, (pem, sealed): (&[u8], &[u8]), envelope: &Envelope) -> Result<Root, PkiError> {
    let count = tls::certificates(pem).map_or(0, |certificates| certificates.len());
    if count > 1 {
        return Err(unusable(data, ROTATION, "it is missing, although ca.pem says that a rotation is under way"));
    }
    let key = envelope.open(CONTEXT, sealed).map_err(|e| unusable(data, KEY, &e.to_string()))?;
    let key = std::str::from_utf8(&key).map_err(|e| unusable(data, KEY, &e.to_string()))?;
    let pem = std::str::from_utf8(pem).map_err(|e| unusable(data, CERTIFICATE, &e.to_string()))?;
    Root::open(pem, &Secret::new(key)).map_err(|fault| match fault {
        RootFault::Key(fault) => unusable(data, KEY, &fault),
        RootFault::Certificate(fault) => unusable(data, CERTIFICATE, &fault),
    })
}

pub(super) fn open_both(data: &Path, sealed: &[u8], envelope: &Envelope) -> Result<Roots, PkiError> {
    let fault = |fault: &str| unusable(data, ROTATION, fault);
    let text = envelope.open(ROTATION_CONTEXT, sealed).map_err(|e| fault(&e.to_string()))?;
    let document: Document = serde_json::from_slice(&text).map_err(|e| fault(&e.to_string()))?;
    if document.format != FORMAT {
        return Err(fault(&format!("it is from another release (format {})", document.format)));
    }
    let open = |pair: &Pair| pair.open().map_err(|e| fault(&e));
    Ok(Roots::new(open(&document.stays)?, Some((open(&document.goes)?, document.progress))))
}

/// Writes a root's two files, the key first.
pub(super) fn keep(data: &Path, root: &Root, envelope: &Envelope) -> Result<(), PkiError> {
    let write = |name: &str, content: &[u8]| {
        let path = data.join(name);
        files::write_atomic(&path, content).map_err(|source| file(&path, source))
    };
    write(KEY, &envelope.seal(CONTEXT, root.key().expose().as_bytes()))?;
    write(CERTIFICATE, root.pem.as_bytes())
}

/// Writes both roots, and how far their rotation is, whole.
pub(super) fn keep_both(data: &Path, roots: &Roots, envelope: &Envelope) -> Result<(), PkiError> {
    let Some((goes, progress)) = &roots.goes else { return Ok(()) };
    let (stays, goes) = (Pair::of(&roots.stays), Pair::of(goes));
    let document = Document { format: FORMAT, progress: *progress, stays, goes };
    let text = serde_json::to_vec(&document).map(Zeroizing::new).map_err(|e| PkiError::Make(e.to_string()))?;
    let path = data.join(ROTATION);
    files::write_atomic(&path, &envelope.seal(ROTATION_CONTEXT, &text)).map_err(|source| file(&path, source))
}

pub(super) fn file(path: &Path, source: std::io::Error) -> PkiError {
    PkiError::File { path: path.display().to_string(), source }
}

pub(super) fn unusable(data: &Path, name: &str, fault: &str) -> PkiError {
    PkiError::Unusable { path: data.join(name).display().to_string(), fault: fault.to_owned() }
}
