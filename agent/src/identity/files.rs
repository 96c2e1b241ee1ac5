//! Where an identity is kept: one file, replaced whole.
//!
//! Key, certificate and trust are in one document, so that no crash can leave a key with somebody
//! else's certificate. A renewed identity is first put beside the current one (`identity-next.json`),
//! then proved on a connection, then renamed over it: whatever is killed when, at least one of the two
//! files is whole and known to the controller. The key of an enrolment is kept (`identity-asked.json`)
//! before the token is shown, until there is a certificate for it: the token works once, and the controller
//! answers again only who has that key.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::name::AgentName;
use cratekube_common::domain::secret::Secret;
use cratekube_common::runtime::{files, tls};
use data_encoding::BASE64;
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::{Identity, UnusableIdentity};

const CURRENT: &str = "identity.json";
const NEXT: &str = "identity-next.json";
const ASKING: &str = "identity-asked.json";
const FORMAT: u32 = 1;

/// The directory with the agent's identity.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    dir: PathBuf,
}

/// What was found there.
#[derive(Debug)]
pub struct Saved {
    /// The identity in use.
    pub current: Identity,
    /// A renewed one that was not proved before the agent stopped.
    pub next: Option<Identity>,
}

/// Why an identity could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFilesError {
    /// From the filesystem.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: String,
        /// Why it did not work.
        source: io::Error,
    },
    /// The agent is not enrolled.
    #[error("this agent is not enrolled ({0} is missing): run `cratekube-agent enroll` with a join token")]
    NotEnrolled(String),
    /// The file is there but cannot be used.
    #[error("{path} is damaged ({fault}): enrol this agent again with `cratekube-agent enroll --force`")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// The document. Its `Debug` is not derived, for it holds the key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    agent: AgentId,
    name: AgentName,
    controller: String,
    key_pem: String,
    certificate_pem: String,
    trust_pem: String,
}

/// The key that an enrolment asks with. Its `Debug` is not derived, for it holds the key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asking {
    /// SHA-256 of the join token that it is asked with.
    token_sha256: String,
    algorithm: KeyAlgorithm,
    key_pem: String,
}

impl IdentityFiles {
    /// The directory; nothing is touched yet.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The file with the identity in use.
    #[must_use]
    pub fn current_path(&self) -> PathBuf {
        self.dir.join(CURRENT)
    }

    /// True when there is an identity, usable or not.
    #[must_use]
    pub fn is_enrolled(&self) -> bool {
        self.current_path().exists()
    }

    /// Reads what is kept. A damaged successor is dropped; a damaged current identity is replaced by
    /// its successor where there is one.
    ///
    /// # Errors
    /// [`IdentityFilesError`].
    pub fn load(&self) -> Result<Saved, IdentityFilesError> {
        let next = read(&self.dir.join(NEXT)).unwrap_or_else(|error| {
            tracing::warn!(%error, "a renewed identity cannot be used and is dropped");
            None
        });
        let path = self.current_path();
        match (read(&path), next) {
            (Ok(Some(current)), next) => Ok(Saved { current, next }),
            (_, Some(next)) => Ok(Saved { current: next, next: None }),
            (Ok(None), None) => Err(IdentityFilesError::NotEnrolled(path.display().to_string())),
            (Err(error), None) => Err(error),
        }
    }

    /// Puts an identity in the place of the current one.
    ///
    /// # Errors
    /// From the filesystem; the old one is still there then.
    pub fn save(&self, identity: &Identity) -> Result<(), IdentityFilesError> {
        self.write(CURRENT, identity)?;
        self.remove(ASKING)?;
        self.discard()
    }

    /// The key that was asked with before, with this token and of this kind: whether there was an answer is
    /// not known. None when there is none that can be read.
    #[must_use]
    pub fn asked(&self, token: &JoinToken, algorithm: KeyAlgorithm) -> Option<Secret> {
        let bytes = files::read_optional(&self.dir.join(ASKING)).ok().flatten()?;
        let asking: Asking = serde_json::from_slice(&bytes).ok()?;
        let key = Secret::new(asking.key_pem);
        (asking.token_sha256 == digest(token) && asking.algorithm == algorithm).then_some(key)
    }

    /// Keeps the key that is about to be asked with, so that one whose answer is lost can be asked for again.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn keep_asking(
        &self,
        token: &JoinToken,
        algorithm: KeyAlgorithm,
        key: &Secret,
    ) -> Result<(), IdentityFilesError> {
        self.prepare().map_err(failed("prepare", &self.dir))?;
        let path = self.dir.join(ASKING);
        let asking = Asking { token_sha256: digest(token), algorithm, key_pem: key.expose().to_owned() };
        let text = serde_json::to_string_pretty(&asking);
        let _wiped = Secret::new(asking.key_pem);
        let text = text.map(Secret::new).map_err(|e| failed("write", &path)(e.into()))?;
        files::write_atomic(&path, text.expose().as_bytes()).map_err(failed("write", &path))
    }

    /// Puts a renewed identity beside the current one, to be proved.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn stage(&self, identity: &Identity) -> Result<(), IdentityFilesError> {
        self.write(NEXT, identity)
    }

    /// The staged identity works: it takes the place of the current one.
    ///
    /// # Errors
    /// From the filesystem; both are still there then.
    pub fn promote(&self) -> Result<(), IdentityFilesError> {
        let next = self.dir.join(NEXT);
        files::rename(&next, &self.current_path()).map_err(failed("rename", &next))?;
        files::sync_dir(&self.dir).map_err(failed("sync", &self.dir))
    }

    /// The staged identity, if any, is of no use.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn discard(&self) -> Result<(), IdentityFilesError> {
        self.remove(NEXT)
    }

    fn remove(&self, name: &str) -> Result<(), IdentityFilesError> {
        let path = self.dir.join(name);
        match files::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Makes the directory, for its owner only, whoever made it before.
    fn prepare(&self) -> io::Result<()> {
        files::make_dir(&self.dir)?;
        std::fs::set_permissions(&self.dir, std::fs::Permissions::from_mode(0o700))
    }

    fn write(&self, name: &str, identity: &Identity) -> Result<(), IdentityFilesError> {
        self.prepare().map_err(failed("prepare", &self.dir))?;
        let path = self.dir.join(name);
        let text = document(identity).map_err(|e| failed("write", &path)(e.into()))?;
        files::write_atomic(&path, text.expose().as_bytes()).map_err(failed("write", &path))
    }
}

fn digest(token: &JoinToken) -> String {
    tls::sha256_hex(token.secret.expose().as_bytes())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityFilesError {
    let path = path.display().to_string();
    move |source| IdentityFilesError::Io { action, path, source }
}

fn document(identity: &Identity) -> Result<Secret, serde_json::Error> {
    let document = Document {
        format: FORMAT,
        agent: identity.agent,
        name: identity.name.clone(),
        controller: identity.controller.to_string(),
        key_pem: identity.key.expose().to_owned(),
        certificate_pem: pem(&identity.chain),
        trust_pem: pem(&identity.trust),
    };
    let text = serde_json::to_string_pretty(&document);
    let _wiped = Secret::new(document.key_pem);
    text.map(Secret::new)
}

fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in BASE64.encode(certificate).as_bytes().chunks(64) {
            text.extend(line.iter().map(|b| char::from(*b)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

fn read(path: &Path) -> Result<Option<Identity>, IdentityFilesError> {
    let damaged = |fault: String| IdentityFilesError::Damaged { path: path.display().to_string(), fault };
    let Some(bytes) = files::read_optional(path).map_err(failed("read", path))? else { return Ok(None) };
    let text = Secret::new(String::from_utf8(bytes).map_err(|_| damaged("it is not text".into()))?);
    let document: Document = serde_json::from_str(text.expose())
        .map_err(|e| damaged(format!("line {}, column {}", e.line(), e.column())))?;
    identity(document).map_err(damaged).map(Some)
}

fn identity(document: Document) -> Result<Identity, String> {
    let key = Secret::new(document.key_pem);
    if document.format != FORMAT {
        return Err(format!("its format is {}, this agent knows {FORMAT}", document.format));
    }
    let identity = Identity {
        agent: document.agent,
        name: document.name,
        controller: document.controller.parse()?,
        key,
        chain: tls::certificates(document.certificate_pem.as_bytes())?,
        trust: tls::certificates(document.trust_pem.as_bytes())?,
    };
    identity.certified_key().map_err(|e: UnusableIdentity| e.to_string())?;
    Ok(identity)
}
