//! `Idempotency-Key`: a repeated request finds the first one's operation.

use aws_lc_rs::hmac;
use http::HeaderMap;
use serde_json::Value;

use super::problem::Problem;
use super::query::invalid;
use super::state::RestState;
use crate::service::clusters::IdempotencyKey;

const HEADER: &str = "idempotency-key";
const MAX_KEY: usize = 255;

/// The key of a request, with a digest of what it asks for.
///
/// The digest is keyed: bodies hold passwords, and a plain hash of one could be guessed offline.
///
/// # Errors
/// 400 when the header is there and not a key.
pub(super) fn key(
    state: &RestState,
    headers: &HeaderMap,
    action: &str,
    wanted: &Value,
) -> Result<Option<IdempotencyKey>, Problem> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let fault = || invalid("Idempotency-Key", format!("must be one text of 1 to {MAX_KEY} visible ASCII characters"));
    let visible = |b: &u8| (0x21..=0x7e).contains(b);
    let key = value.as_bytes();
    if given.next().is_some() || key.is_empty() || key.len() > MAX_KEY || !key.iter().all(visible) {
        return Err(fault());
    }
    let key = String::from_utf8(key.to_vec()).map_err(|_| fault())?;
    let message = format!("cratekube/idempotency/v1\n{action}\n{wanted}");
    let digest = data_encoding::HEXLOWER.encode(hmac::sign(&state.mac_key, message.as_bytes()).as_ref());
    Ok(Some(IdempotencyKey { key, digest }))
}
