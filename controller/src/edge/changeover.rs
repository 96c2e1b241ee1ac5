//! A step of the rotation of the authority's root, with what it means for the listeners: whom they let in, and
//! whose certificates they show.
//!
//! The order matters: a new root is trusted before anything is certified by it.

use std::sync::Arc;

use cratekube_common::runtime::blocking::Blocking;

use super::renewal::Renewal;
use super::tls::Trust;
use crate::pki::PkiError;
use crate::pki::authority::{Authority, AuthorityNow};
use crate::plan::ca_rotation::Step;

/// Takes the steps of a rotation.
#[derive(Debug, Clone)]
pub struct Changeover {
    authority: Arc<Authority>,
    trust: Arc<Trust>,
    renewals: Arc<Vec<Renewal>>,
}

impl Changeover {
    /// Of this authority, for these listeners.
    #[must_use]
    pub fn new(authority: Arc<Authority>, trust: Arc<Trust>, renewals: Arc<Vec<Renewal>>) -> Self {
        Self { authority, trust, renewals }
    }

    /// The authority.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Takes a step; it is on the disk and in use when this answers.
    ///
    /// # Errors
    /// [`PkiError`], as [`Authority::take`].
    pub async fn take(&self, step: Step) -> Result<AuthorityNow, PkiError> {
        let changeover = self.clone();
        let done = Blocking::Threads.run(move || changeover.take_apart(step)).await;
        done.unwrap_or_else(|error| Err(PkiError::Make(error.to_string())))
    }

    fn take_apart(&self, step: Step) -> Result<AuthorityNow, PkiError> {
        let trust = |trusted| self.trust.exchange(trusted).map_err(|error| error.to_string());
        let changed = self.authority.take(step, trust)?;
        if changed {
            self.renewals.iter().for_each(Renewal::make_anew);
        }
        Ok(self.authority.now())
    }
}
