//! `POST /v1/admin/join-tokens`: a token for one new agent, shown once.

use axum::Json;
use axum::extract::{Request, State};
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::intake::Object;
use cratekube_common::runtime::settings::parse_duration;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::JoinTokenView;
use crate::rest::body;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::service::identity::{DEFAULT_JOIN_LIFETIME, LONGEST_JOIN_LIFETIME, WantedJoinToken};

/// A join token that is wanted; all of it may be left out.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct WantedToken {
    /// Only an agent of this name can use it.
    agent: Option<String>,
    /// Only an agent that serves this volume can use it.
    volume: Option<String>,
    /// Environments whose new clusters the agent may be given: a name, a prefix such as `team-*`, or `*`.
    #[schema(default = "*")]
    environments: Option<String>,
    /// How long it can be used; at most `24h`.
    #[schema(default = "10m")]
    lifetime: Option<String>,
}

/// A join token with its secret; not printable.
#[derive(Serialize, ToSchema)]
pub(in crate::rest) struct MadeJoinToken {
    /// What `cratekube-agent enroll` reads. It is not kept and cannot be shown again.
    token: String,
    /// A line for a shell on the new bastion that does all of it; none where no agents are offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    install: Option<String>,
    #[serde(flatten)]
    about: JoinTokenView,
}

/// Make a join token: it can be used once, for a short time, to enroll one agent.
#[utoipa::path(post, path = "/v1/admin/join-tokens", tag = "admin", request_body = Option<WantedToken>,
    responses((status = 201, description = "The token, shown this once", body = MadeJoinToken)))]
pub(in crate::rest) async fn create(
    State(state): State<RestState>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<MadeJoinToken>), Problem> {
    caller.require_admin()?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::optional_json(&parts.headers, body, state.limits.body_bytes).await?;
    let wanted = read(&document.unwrap_or_else(|| json!({})))?;
    let (record, secret) = state.service.make_join_token(caller.actor(), wanted).await?;
    let token = JoinToken::new(secret.expose(), &state.changeover.authority().fingerprint())
        .map_err(|_| Problem::internal())?;
    let token = token.expose().expose().to_owned();
    let install = state.install.one_line(state.changeover.authority(), &token).await;
    let made = MadeJoinToken { token, install, about: JoinTokenView::from(&record) };
    Ok((StatusCode::CREATED, Json(made)))
}

fn read(document: &Value) -> Result<WantedJoinToken, Problem> {
    body::fields(document, read_fields)
}

fn read_fields(object: &mut Object<'_>) -> Option<WantedJoinToken> {
    let (agent, volume) = (object.field("agent").parse(), object.field("volume").parse());
    let environments = object.field("environments").parse().unwrap_or_else(EnvironmentPattern::any);
    let field = object.field("lifetime");
    let lifetime = match field.string() {
        Some(text) => field.check(parse_duration(text))?,
        None => DEFAULT_JOIN_LIFETIME,
    };
    if lifetime.is_zero() || lifetime > LONGEST_JOIN_LIFETIME {
        field.error("must be between 1s and 24h");
    }
    Some(WantedJoinToken { agent, volume, environments, lifetime })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::join_token::JoinToken;
    use cratekube_common::runtime::tls::sha256_hex;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::rest::testing::{Answer, World};
    use crate::store::Enrolled;

    const TOKENS: &str = "/v1/admin/join-tokens";

    async fn admin(world: &World, method: Method, path: &str, body: Option<Value>) -> Answer {
        let ask = world.ask_as(&world.token(Role::Admin, "*"), method, path);
        match body {
            Some(body) => ask.json(&body).send().await,
            None => ask.send().await,
        }
    }

    #[tokio::test]
    async fn a_join_token_is_shown_once_listed_without_its_secret_and_lets_one_agent_in() {
        let world = World::new().await;
        let wanted = json!({"agent": "bastion-9", "environments": "team-*", "lifetime": "1h"});
        let made = admin(&world, Method::POST, TOKENS, Some(wanted)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let made = made.json();
        let token: JoinToken = made["token"].as_str().unwrap().parse().unwrap();
        let listed = admin(&world, Method::GET, TOKENS, None).await;
        assert!(!listed.text().contains(token.secret.expose()) && listed.json()["items"][0].get("token").is_none());
        assert_eq!(listed.json()["items"][0]["id"], made["id"]);
        let mut request = world.house.enrolment("-", "bastion-9");
        request.secret_sha256 = sha256_hex(token.secret.expose().as_bytes());
        assert_eq!(world.house.store.enroll_agent(request.clone()).await.unwrap(), Enrolled::New);
        let used = admin(&world, Method::GET, TOKENS, None).await.json()["items"][0].clone();
        assert_eq!((&used["used_by"], &used["environments"]), (&json!(request.agent.to_string()), &json!("team-*")));
        let path = format!("{TOKENS}/{}", made["id"].as_str().unwrap());
        assert_eq!(admin(&world, Method::DELETE, &path, None).await.problem(), "join-token-used");
        let stored = std::fs::read(world.dir.path().join("cratekube.db")).unwrap();
        let secret = token.secret.expose().as_bytes();
        assert!(!stored.windows(secret.len()).any(|window| window == secret), "only its hash is kept");
    }

    #[tokio::test]
    async fn an_unused_join_token_can_be_taken_back_and_its_end_is_near() {
        let world = World::new().await;
        let made = admin(&world, Method::POST, TOKENS, None).await.json();
        let at =
            |name: &str| made[name].as_str().unwrap().parse::<cratekube_common::domain::time::Timestamp>().unwrap();
        assert_eq!(at("expires_at").since(at("created_at")), Duration::from_secs(600));
        let path = format!("{TOKENS}/{}", made["id"].as_str().unwrap());
        assert_eq!(admin(&world, Method::DELETE, &path, None).await.status, StatusCode::NO_CONTENT);
        assert_eq!(admin(&world, Method::DELETE, &path, None).await.problem(), "not-found");
        let actions: Vec<_> = world.audit().await.into_iter().map(|entry| entry.action).collect();
        assert_eq!(actions, ["agent.join-token", "agent.join-token.delete"]);
    }

    #[tokio::test]
    async fn mistakes_are_told_all_at_once() {
        let world = World::new().await;
        let odd = json!({"agent": "A B", "volume": "x", "environments": "**", "lifetime": "25h", "uses": 2});
        let refused = admin(&world, Method::POST, TOKENS, Some(odd)).await;
        assert_eq!(refused.pointers(), ["/agent", "/volume", "/environments", "/lifetime", "/uses"]);
        let refused = admin(&world, Method::POST, TOKENS, Some(json!({"lifetime": "soon"}))).await;
        assert_eq!(refused.pointers(), ["/lifetime"]);
    }
}
