//! `POST /v1/admin/revocations`: tokens that count no more from now on.

use axum::Json;
use axum::extract::{Request, State};
use cratekube_common::domain::revocation::RevocationKind;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::intake::Field;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::RevocationView;
use crate::rest::{body, reason};
use crate::service::revocations::Wanted;

/// Tokens that are to count no more.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct NewRevocation {
    /// `token`: one token; `subject`: all that a subject has, its API keys too; `before`: every token
    /// made before a time. (An API key is revoked by deleting it.)
    #[schema(example = "subject")]
    kind: String,
    /// The token's id (`jti`), the subject, or the time (RFC 3339; now when absent).
    value: Option<String>,
    /// Why; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// Revoke tokens. It takes effect at once here and within 5 seconds everywhere, on open streams too.
#[utoipa::path(post, path = "/v1/admin/revocations", tag = "admin", request_body = NewRevocation,
    responses((status = 201, description = "Recorded", body = RevocationView)))]
pub(in crate::rest) async fn create(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<RevocationView>), Problem> {
    caller.require_admin()?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, state.limits.body_bytes).await?;
    let (wanted, reason) = read(&document, state.service.clock.now())?;
    let made = state.service.revoke(caller.actor(), &state.tokens, wanted, "token.revoke", &reason).await?;
    Ok((StatusCode::CREATED, Json(RevocationView::from(&made))))
}

fn read(document: &Value, now: Timestamp) -> Result<(Wanted, String), Problem> {
    body::fields(document, |object| {
        let kind_at = object.field("kind").required();
        let kind = kind_at.parse::<RevocationKind>();
        let value = object.field("value");
        let wanted = kind.and_then(|kind| read_value(kind, &kind_at, value, now));
        wanted.zip(reason::read(object))
    })
}

fn read_value(kind: RevocationKind, kind_at: &Field<'_>, value: Field<'_>, now: Timestamp) -> Option<Wanted> {
    let named = |value: String, made_until| Some(Wanted { kind, value, made_until, until: None });
    match kind {
        RevocationKind::ApiKey => {
            kind_at.error("is done by DELETE /v1/admin/api-keys/{id}");
            None
        }
        RevocationKind::Before if !value.is_present() => named(now.to_string(), Some(now)),
        RevocationKind::Before => {
            let before = value.parse::<Timestamp>()?;
            if before > now {
                value.error("lies in the future; tokens that are not made yet cannot be revoked");
                return None;
            }
            named(before.to_string(), Some(before))
        }
        RevocationKind::Token | RevocationKind::Subject => {
            let text = value.required().string()?.to_owned();
            named(text, None)
        }
    }
}
