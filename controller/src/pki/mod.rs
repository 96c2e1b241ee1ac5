//! The controller's own certificate authority: [`authority`] keeps it, [`issue`] makes certificates, and its
//! root is exchanged in the steps of [`plan::ca_rotation`](crate::plan::ca_rotation).
//!
//! Revocation is a matter of the store, checked on every call; there are no lists to distribute.

pub mod authority;
pub mod issue;
pub(crate) mod keys;
mod root;

use cratekube_common::domain::key_algorithm::KeyAlgorithm;

use crate::plan::ca_rotation::StepFault;

/// A fault of the certificate authority.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file of it cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What it holds cannot be used.
    #[error(
        "cannot use {path}: {fault}; it is never made anew, because every agent trusts it: put the right file back"
    )]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        fault: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
    /// The key of a certificate request is not good enough.
    #[error(
        "the certificate request is not acceptable: its key is of a kind or size that is not certified here; use {0}"
    )]
    Key(KeyAlgorithm),
    /// A certificate request is not acceptable.
    #[error("the certificate request is not acceptable: {0}")]
    Request(String),
    /// It is not this step's turn in a rotation.
    #[error(transparent)]
    Step(#[from] StepFault),
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error.to_string())
    }
}
