//! `/v1/admin/signing-keys`: the keys that sign tokens.

mod list;
mod rotate;

pub(super) use list::{__path_list, list};
pub(super) use rotate::{__path_rotate, rotate};

use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Kind, Problem};
use crate::auth::KeyRing;
use crate::keys::signing::SigningError;

/// A key that tokens are checked with. The key itself is never shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SigningKey)]
pub(super) struct SigningKeyView {
    /// Its id, the `kid` of tokens that it signed.
    kid: String,
    /// The public key (Ed25519, base64url as in a JWK's `x`): what residue reports are verified with. Keep it
    /// with a report that is to be verified later: keys that have ended are not listed.
    x: String,
    /// Whether new tokens are signed with it; one key at a time.
    signs: bool,
    /// From when on no token of it can live; absent while it signs.
    ends_at: Option<String>,
}

/// The keys, the one that signs first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SigningKeys {
    /// Two at most.
    items: Vec<SigningKeyView>,
}

impl From<&KeyRing> for SigningKeys {
    fn from(ring: &KeyRing) -> Self {
        let view = |kept: &crate::auth::RingKey| SigningKeyView {
            kid: kept.key.kid.clone(),
            x: data_encoding::BASE64URL_NOPAD.encode(kept.key.public()),
            signs: kept.ends_at.is_none(),
            ends_at: kept.ends_at.map(|at| at.to_string()),
        };
        Self { items: ring.keys().iter().map(view).collect() }
    }
}

fn problem(error: &SigningError) -> Problem {
    match error {
        SigningError::Rotate(crate::auth::RotateFault::TwoLive(until)) => {
            Problem::new(Kind::SigningKeysLive, format!("two keys are live until {until}"))
        }
        error => {
            tracing::error!(%error, "the signing keys cannot be used");
            Problem::internal()
        }
    }
}
