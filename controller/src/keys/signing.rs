//! The file of the keys that sign tokens, sealed under the master key.
//!
//! A command changes it while a controller runs; the controller looks every few seconds whether it is
//! another one. Who writes holds a lock beside it, so that of two rotations none is lost. A file that
//! is gone or does not open is never made anew: that would end every token.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::files;

use super::{Envelope, EnvelopeError};
use crate::auth::{KeyFault, KeyRing, RotateFault, SigningKey, Tokens};

/// Name of the file within the data directory.
pub const FILE: &str = "signing.key.sealed";
const LOCK: &str = "signing.lock";
/// What it is sealed for.
pub const CONTEXT: &[u8] = b"auth/signing-key";

/// Why the keys cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// From the filesystem.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not there.
    #[error("cannot use {0}: it is missing, and a new one would end every token; put it back")]
    Missing(String),
    /// It does not open.
    #[error("cannot use {path}: {fault}")]
    Sealed {
        /// The file.
        path: String,
        /// Why.
        fault: EnvelopeError,
    },
    /// It opens, and holds no keys.
    #[error("cannot use {path}: {fault}")]
    Content {
        /// The file.
        path: String,
        /// Why.
        fault: KeyFault,
    },
    /// The keys are not to be rotated now.
    #[error(transparent)]
    Rotate(#[from] RotateFault),
}

/// Reads the keys; makes the first one when the data directory is new.
///
/// # Errors
/// [`SigningError`].
pub fn load(data: &Path, is_new: bool, envelope: &Envelope) -> Result<KeyRing, SigningError> {
    let at = data.join(FILE);
    match files::read_optional(&at).map_err(|e| file(&at, e))? {
        Some(sealed) => open(&at, &sealed, envelope),
        None if is_new => {
            let key = SigningKey::generate().map_err(|fault| SigningError::Content { path: shown(&at), fault })?;
            let ring = KeyRing::of(key);
            save(&at, &ring, envelope)?;
            Ok(ring)
        }
        None => Err(SigningError::Missing(shown(&at))),
    }
}

/// Makes a new key that signs from now on.
///
/// # Errors
/// [`SigningError`]; the keys are as they were then.
pub fn rotate(
    data: &Path,
    envelope: &Envelope,
    now: Timestamp,
    longest: Duration,
    at_once: bool,
) -> Result<KeyRing, SigningError> {
    change(data, envelope, |ring| Ok(Some(ring.rotated(now, longest, at_once)?)))
}

fn change(
    data: &Path,
    envelope: &Envelope,
    to: impl FnOnce(&KeyRing) -> Result<Option<KeyRing>, SigningError>,
) -> Result<KeyRing, SigningError> {
    let lock_at = data.join(LOCK);
    let lock: File = files::create_private(&lock_at).map_err(|e| file(&lock_at, e))?;
    let locked = rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive);
    locked.map_err(|e| file(&lock_at, e.into()))?;
    let ring = load(data, false, envelope)?;
    let Some(changed) = to(&ring)? else { return Ok(ring) };
    save(&data.join(FILE), &changed, envelope)?;
    Ok(changed)
}

/// Keeps [`Tokens`] at what the file holds.
#[derive(Debug)]
pub struct Watched {
    data: PathBuf,
    envelope: Arc<Envelope>,
    tokens: Arc<Tokens>,
    last: Mutex<Vec<u8>>,
}

impl Watched {
    /// Watches the file of a data directory.
    #[must_use]
    pub fn new(data: PathBuf, envelope: Arc<Envelope>, tokens: Arc<Tokens>) -> Self {
        Self { data, envelope, tokens, last: Mutex::default() }
    }

    /// Makes a new key that signs from now on, here at once and elsewhere within seconds.
    ///
    /// # Errors
    /// [`SigningError`]; the keys are as they were then.
    pub async fn rotate(
        self: &Arc<Self>,
        now: Timestamp,
        longest: Duration,
        at_once: bool,
    ) -> Result<KeyRing, SigningError> {
        self.apart(move |watched| {
            let ring = rotate(&watched.data, &watched.envelope, now, longest, at_once)?;
            watched.look(now)?;
            Ok(ring)
        })
        .await
    }

    /// The keys that tokens are checked with.
    ///
    /// # Errors
    /// [`SigningError`].
    pub async fn living(self: &Arc<Self>, now: Timestamp) -> Result<KeyRing, SigningError> {
        self.apart(move |watched| Ok(load(&watched.data, false, &watched.envelope)?.living(now))).await
    }

    async fn apart(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<KeyRing, SigningError> + Send + 'static,
    ) -> Result<KeyRing, SigningError> {
        let watched = Arc::clone(self);
        let done = Blocking::Threads.run(move || work(&watched)).await;
        done.unwrap_or_else(|source| Err(file(&self.data.join(FILE), source)))
    }

    /// Looks once: takes other keys over, and throws away those that have ended. Answers whether
    /// there was anything to do.
    ///
    /// # Errors
    /// [`SigningError`]; the keys known so far stay in use.
    pub fn look(&self, now: Timestamp) -> Result<bool, SigningError> {
        let at = self.data.join(FILE);
        let sealed = files::read_optional(&at).map_err(|e| file(&at, e))?;
        let sealed = sealed.ok_or_else(|| SigningError::Missing(shown(&at)))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = open(&at, &sealed, &self.envelope)?;
        let living = ring.living(now);
        let ended = living.keys().len() < ring.keys().len();
        if ended {
            change(&self.data, &self.envelope, |ring| Ok(Some(ring.living(now))))?;
        } else if *last == sealed {
            return Ok(false);
        }
        self.tokens.use_keys(&living.signing_keys());
        if !last.is_empty() && !ended {
            tracing::info!(kid = %living.keys()[0].key.kid, "another key signs tokens now");
        }
        *last = sealed;
        Ok(true)
    }
}

fn open(at: &Path, sealed: &[u8], envelope: &Envelope) -> Result<KeyRing, SigningError> {
    let plain = envelope.open(CONTEXT, sealed).map_err(|fault| SigningError::Sealed { path: shown(at), fault })?;
    KeyRing::read(&plain).map_err(|fault| SigningError::Content { path: shown(at), fault })
}

fn save(at: &Path, ring: &KeyRing, envelope: &Envelope) -> Result<(), SigningError> {
    files::write_atomic(at, &envelope.seal(CONTEXT, &ring.write())).map_err(|e| file(at, e))
}

fn file(path: &Path, source: std::io::Error) -> SigningError {
    SigningError::File { path: shown(path), source }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::runtime::clock::ManualClock;
    use cratekube_common::runtime::mint::Mint;
    use zeroize::Zeroizing;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_running_controller_takes_a_new_key_over_and_drops_the_old_one_when_its_tokens_have_ended() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_795_000_000_000));
        let mint = Mint::system(clock.clone());
        let envelope = Arc::new(Envelope::new(&Zeroizing::new(vec![7; 32]), mint).unwrap());
        let now = || cratekube_common::runtime::clock::TimeSource::now(&*clock);
        let ring = load(dir.path(), true, &envelope).unwrap();
        let tokens = Arc::new(Tokens::new(&ring.signing_keys(), "iss", "aud", HOUR, clock.clone()));
        let issue = || tokens.issue("ann", &[], HOUR, "t-1").unwrap();
        let watched = Watched::new(dir.path().to_owned(), Arc::clone(&envelope), Arc::clone(&tokens));
        watched.look(now()).unwrap();
        assert!(!watched.look(now()).unwrap(), "nothing is new");
        let old = issue();
        rotate(dir.path(), &envelope, now(), HOUR, false).unwrap();
        assert!(watched.look(now()).unwrap());
        let new = issue();
        assert_ne!(old.split('.').next(), new.split('.').next(), "another key signs");
        assert!(tokens.verify(&old).is_ok() && tokens.verify(&new).is_ok());
        assert!(
            rotate(dir.path(), &envelope, now(), HOUR, false).unwrap_err().to_string().contains("two keys are live")
        );
        clock.advance(HOUR + Duration::from_secs(5));
        assert!(watched.look(now()).unwrap());
        assert_eq!(load(dir.path(), false, &envelope).unwrap().keys().len(), 1, "the old key is gone from the disk");
        let stolen = issue();
        rotate(dir.path(), &envelope, now(), HOUR, true).unwrap();
        watched.look(now()).unwrap();
        assert!(tokens.verify(&stolen).is_err(), "at once means at once, whatever was verified before");
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        assert!(matches!(watched.look(now()), Err(SigningError::Missing(_))));
        assert!(tokens.verify(&issue()).is_ok(), "what is known stays in use");
        assert!(!dir.path().join(FILE).exists());
    }
}
