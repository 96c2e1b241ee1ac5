//! Keys at rest: the master key, and what is sealed under it.
//!
//! AES-256-GCM envelopes (CrateKube's standard `storage_aes256`). A value that cannot be opened is a
//! reason to stop, never to mint a new one: a controller that invents a new CA locks out every agent.

mod command;
pub mod envelope;
pub mod master;
pub mod rotation;
pub mod signing;
mod vault;

pub use envelope::{Envelope, EnvelopeError};
