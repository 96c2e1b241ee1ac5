//! `[pki]`: certificates of our own authority.

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::intake::Field;

/// As strong as RSA with 3072 bits (128 bits of security), and a signature takes a hundredth of the
/// time of one with RSA-4096: ten thousand agents that come back at once cost seconds and not minutes
/// of one core, and a small bastion makes a key at once. CrateKube's standard 113 ("key length must be
/// 4096") was written for RSA and says nothing of curves; where its letter counts, set `rsa-4096`.
const DEFAULT_ALGORITHM: KeyAlgorithm = KeyAlgorithm::EcdsaP256;

/// The `[pki]` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pki {
    /// `key_algorithm`: of the authority when it is made, of every certificate that it makes, and the
    /// least that an agent's key may be.
    pub key_algorithm: KeyAlgorithm,
}

impl Pki {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let mut section = Self { key_algorithm: DEFAULT_ALGORITHM };
        let Some(mut o) = at.object() else { return section };
        section.key_algorithm = o.field("key_algorithm").parse().unwrap_or(DEFAULT_ALGORITHM);
        o.finish();
        section
    }
}
