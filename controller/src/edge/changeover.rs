//! A step of the rotation of the authority's root, with what it means for the listeners: whom they let in, and
//! whose certificates they show.
//!
//! The order matters: a new root is trusted before anything is certified by it. And the turn matters: what a step
//! was judged by must hold when it is taken, so that whoever judges has the [`Turn`] first.

use std::sync::Arc;

use cratekube_common::runtime::blocking::Blocking;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::renewal::Renewal;
use super::tls::Trust;
use crate::pki::PkiError;
use crate::pki::authority::{Authority, AuthorityNow};
use crate::plan::ca_rotation::Step;

/// Takes the steps of a rotation, one after the other.
#[derive(Debug, Clone)]
pub struct Changeover {
    parts: Arc<Parts>,
    turn: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct Parts {
    authority: Arc<Authority>,
    trust: Arc<Trust>,
    renewals: Arc<Vec<Renewal>>,
    blocking: Blocking,
}

/// The right to take the next step. Nobody else takes one meanwhile.
#[derive(Debug)]
pub struct Turn {
    parts: Arc<Parts>,
    held: OwnedMutexGuard<()>,
}

impl Changeover {
    /// Of this authority, for these listeners. Files are written where `blocking` says.
    #[must_use]
    pub fn new(authority: Arc<Authority>, trust: Arc<Trust>, renewals: Arc<Vec<Renewal>>, blocking: Blocking) -> Self {
        Self { parts: Arc::new(Parts { authority, trust, renewals, blocking }), turn: Arc::default() }
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.parts.authority
    }

    /// Waits until no other step is being judged or taken.
    pub async fn turn(&self) -> Turn {
        Turn { held: Arc::clone(&self.turn).lock_owned().await, parts: Arc::clone(&self.parts) }
    }
}

impl Turn {
    /// The authority as it is, and stays for as long as this is held.
    #[must_use]
    pub fn now(&self) -> AuthorityNow {
        self.parts.authority.now()
    }

    /// Takes a step; it is on the disk and in use when this answers.
    ///
    /// # Errors
    /// [`PkiError`], as [`Authority::take`]; then it can be repeated.
    pub async fn take(self, step: Step) -> Result<AuthorityNow, PkiError> {
        // A caller that goes away does not end it: the turn is over when the step is.
        let done = self.parts.blocking.run(move || {
            let taken = self.parts.take(step);
            drop(self.held);
            taken
        });
        done.await.unwrap_or_else(|error| Err(PkiError::Make(error.to_string())))
    }
}

impl Parts {
    fn take(&self, step: Step) -> Result<AuthorityNow, PkiError> {
        let trust = |trusted| self.trust.exchange(trusted).map_err(|error| error.to_string());
        let taken = self.authority.take(step, trust);
        // Also when something went wrong behind the step, and when it was taken before and only that went wrong.
        for renewal in self.renewals.iter() {
            renewal.pass();
        }
        taken.map(|_changed| self.authority.now())
    }
}
