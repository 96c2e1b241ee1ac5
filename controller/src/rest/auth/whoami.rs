//! `GET /v1/auth/whoami`: what the caller's own token says.

use axum::Json;
use axum::extract::OriginalUri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::views::GrantView;

/// Who you are.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct Whoami {
    /// As you appear in the audit log.
    subject: String,
    /// What you may do, and where.
    grants: Vec<GrantView>,
    /// The token's id (`jti`): what a revocation of it names.
    token_id: String,
    /// The API key that it was made from.
    api_key: Option<String>,
    /// When the token ends.
    expires_at: String,
}

/// Who you are, and what you may do.
#[utoipa::path(get, path = "/v1/auth/whoami", tag = "auth",
    responses((status = 200, description = "What your token says", body = Whoami)))]
pub(in crate::rest) async fn whoami(caller: Caller, OriginalUri(uri): OriginalUri) -> Result<Json<Whoami>, Problem> {
    Params::read(&uri, &[])?;
    let claims = caller.claims();
    Ok(Json(Whoami {
        subject: claims.subject.clone(),
        grants: claims.grants.iter().map(GrantView::from).collect(),
        token_id: claims.token_id.clone(),
        api_key: claims.api_key.clone(),
        expires_at: claims.expires_at().to_string(),
    }))
}
