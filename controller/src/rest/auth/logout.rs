//! `POST /v1/auth/logout`: revokes the token that the request was sent with.

use std::time::Duration;

use axum::extract::{OriginalUri, State};
use cratekube_common::domain::revocation::RevocationKind;
use http::StatusCode;

use crate::auth::jwt::LEEWAY_S;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::service::revocations::Wanted;

/// End your own token; streams that were opened with it are cut.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "auth", responses((status = 204, description = "It counts no more")))]
pub(in crate::rest) async fn logout(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<StatusCode, Problem> {
    Params::read(&uri, &[])?;
    let claims = caller.claims();
    let until = claims.expires_at().after(2 * Duration::from_secs(LEEWAY_S));
    let own =
        Wanted { kind: RevocationKind::Token, value: claims.token_id.clone(), made_until: None, until: Some(until) };
    state.service.revoke(caller.actor(), &state.tokens, own, "token.logout", "logged out").await?;
    Ok(StatusCode::NO_CONTENT)
}
