//! `POST /v1/admin/signing-keys/rotate`: another key signs from now on.

use axum::Json;
use axum::extract::{Request, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{SigningKeys, problem};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::{body, reason};

/// Why another key is to sign, and whether the tokens of those before it are to end.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct SigningKeyRotation {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
    /// End every token that was made before, yours too: for a key that was stolen. Otherwise the key before
    /// verifies for as long as its tokens live.
    #[schema(default = false)]
    at_once: Option<bool>,
}

/// Sign new tokens with a new key. Every controller takes it over within 5 seconds. Refused while two keys
/// are live, unless it is to be at once.
#[utoipa::path(post, path = "/v1/admin/signing-keys/rotate", tag = "admin", request_body = SigningKeyRotation,
    responses((status = 200, description = "The keys as they are now", body = SigningKeys)))]
pub(in crate::rest) async fn rotate(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<Json<SigningKeys>, Problem> {
    caller.require_admin()?;
    Params::read(request.uri(), &[])?;
    let (parts, sent) = request.into_parts();
    let document = body::json(&parts.headers, sent, state.limits.body_bytes).await?;
    let (reason, at_once) = read(&document)?;
    let (now, longest) = (state.service.clock.now(), state.tokens.max_lifetime());
    let ring = state.signing_keys.rotate(now, longest, at_once).await.map_err(|error| problem(&error))?;
    let kid = ring.keys()[0].key.kid.clone();
    state.service.note_signing_key(caller.actor(), kid, at_once, &reason).await?;
    Ok(Json(SigningKeys::from(&ring)))
}

fn read(document: &Value) -> Result<(String, bool), Problem> {
    body::fields(document, |object| {
        let reason = reason::read(object);
        let at_once = object.field("at_once").boolean().unwrap_or(false);
        reason.map(|reason| (reason, at_once))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::rest::testing::{Answer, World};

    const KEYS: &str = "/v1/admin/signing-keys";

    async fn rotate(world: &World, token: &str, body: Value) -> Answer {
        world.ask_as(token, Method::POST, &format!("{KEYS}/rotate")).json(&body).send().await
    }

    async fn kids(world: &World, token: &str) -> Vec<(String, bool)> {
        let listed = world.ask_as(token, Method::GET, KEYS).send().await.json();
        let key = |key: &Value| (key["kid"].as_str().unwrap().to_owned(), key["signs"].as_bool().unwrap());
        listed["items"].as_array().unwrap().iter().map(key).collect()
    }

    #[tokio::test]
    async fn a_signing_key_is_rotated_with_a_reason_and_two_are_live_until_the_old_tokens_end() {
        let world = World::new().await;
        let old = world.token(Role::Admin, "*");
        let before = kids(&world, &old).await;
        assert_eq!(before.len(), 1);
        assert_eq!(rotate(&world, &old, json!({})).await.pointers(), ["/reason"]);
        let rotated = rotate(&world, &old, json!({"reason": "as every month"})).await;
        assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text());
        let new = world.token(Role::Admin, "*");
        assert_ne!(old.split('.').next(), new.split('.').next(), "it signs at once");
        let now = kids(&world, &old).await;
        assert_eq!((now.len(), now[0].1, &now[1]), (2, true, &(before[0].0.clone(), false)), "the old token counts");
        let entry = world.audit().await.pop().unwrap();
        assert_eq!((entry.action.as_str(), &entry.object), ("signing-key.rotate", &now[0].0));
        assert!(entry.detail.starts_with("as every month"), "{}", entry.detail);
        let early = rotate(&world, &new, json!({"reason": "again"})).await;
        assert_eq!((early.status, early.problem().as_str()), (StatusCode::CONFLICT, "signing-keys-live"));
        world.house.clock.advance(Duration::from_secs(306));
        assert_eq!(kids(&world, &world.token(Role::Admin, "*")).await.len(), 1);
    }

    #[tokio::test]
    async fn a_stolen_signing_key_ends_every_token_of_it_at_once() {
        let world = World::new().await;
        let stolen = world.token(Role::Admin, "*");
        let rotated = rotate(&world, &stolen, json!({"reason": "it was stolen", "at_once": true})).await;
        assert_eq!(rotated.json()["items"].as_array().unwrap().len(), 1, "{}", rotated.text());
        assert_eq!(rotate(&world, &stolen, json!({"reason": "x"})).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(kids(&world, &world.token(Role::Admin, "*")).await.len(), 1);
    }
}
