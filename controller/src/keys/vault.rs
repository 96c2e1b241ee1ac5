//! The secrets of specs, under the master key.

use crate::service::spec_secrets::{SpecVault, VaultError};

use super::Envelope;

impl SpecVault for Envelope {
    fn seal(&self, context: &[u8], plain: &[u8]) -> Vec<u8> {
        Self::seal(self, context, plain)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        Self::open(self, context, sealed).map(|plain| plain.to_vec()).map_err(|_| VaultError::Refused)
    }
}
