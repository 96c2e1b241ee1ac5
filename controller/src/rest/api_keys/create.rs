//! `POST /v1/admin/api-keys`: makes an API key and shows it, once.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use cratekube_common::domain::api_key::MOST_GRANTS;
use cratekube_common::domain::environment::Grant;
use cratekube_common::intake::Field;
use cratekube_common::runtime::settings::parse_duration;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::body;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::{ApiKeyView, GrantView};
use crate::service::users::{MAX_NAME, MAX_SUBJECT, WantedKey, check_words};

/// An API key that is wanted.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct NewApiKey {
    /// What you call it.
    #[schema(min_length = 1, max_length = 100, example = "deploy pipeline")]
    name: String,
    /// Whom its tokens stand for.
    #[schema(min_length = 1, max_length = 255, example = "pipeline@team-a")]
    subject: String,
    /// What they may do, and where; at most 32.
    grants: Vec<GrantView>,
    /// How long it lives: `30d`; `90d` when absent, and at most what the controller is set to.
    lifetime: Option<String>,
}

/// An API key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct CreatedApiKey {
    /// The whole key. It is shown this once.
    api_key: String,
    /// What is known of it.
    key: ApiKeyView,
}

/// Make an API key. It is shown in the answer and never again.
#[utoipa::path(post, path = "/v1/admin/api-keys", tag = "admin", request_body = NewApiKey,
    responses((status = 201, description = "The key", body = CreatedApiKey)))]
pub(in crate::rest) async fn create(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<CreatedApiKey>), Problem> {
    caller.require_admin()?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, state.limits.body_bytes).await?;
    let wanted = read(&document, state.users.default_api_key_lifetime, state.users.max_api_key_lifetime)?;
    let (text, key) = state.service.create_api_key(caller.actor(), wanted).await?;
    let created = CreatedApiKey { api_key: text.expose().to_owned(), key: ApiKeyView::from(&key) };
    Ok((StatusCode::CREATED, Json(created)))
}

fn read(document: &Value, default: Duration, longest: Duration) -> Result<WantedKey, Problem> {
    body::fields(document, |object| {
        let name = words(&object.field("name").required(), MAX_NAME);
        let subject = words(&object.field("subject").required(), MAX_SUBJECT);
        let grants = read_grants(&object.field("grants").required());
        let at = object.field("lifetime");
        let lifetime = at.string().and_then(|text| at.check(parse_duration(text))).unwrap_or(default);
        if lifetime.is_zero() || lifetime > longest {
            at.error(format!("must be between 1s and {}d", longest.as_secs() / 86_400));
        }
        name.zip(subject).map(|(name, subject)| WantedKey { name, subject, grants, lifetime })
    })
}

fn words(at: &Field<'_>, most: usize) -> Option<String> {
    let text = at.string()?.trim();
    at.check(check_words(text, most)).map(|()| text.to_owned())
}

fn read_grants(at: &Field<'_>) -> Vec<Grant> {
    let Some(items) = at.items() else { return Vec::new() };
    if items.is_empty() || items.len() > MOST_GRANTS {
        at.error(format!("must hold 1 to {MOST_GRANTS} grants"));
    }
    items.iter().filter_map(read_grant).collect()
}

fn read_grant(at: &Field<'_>) -> Option<Grant> {
    let mut object = at.object()?;
    let role = object.field("role").required().parse();
    let environments = object.field("environments").required().parse();
    object.finish();
    Some(Grant { role: role?, environments: environments? })
}
