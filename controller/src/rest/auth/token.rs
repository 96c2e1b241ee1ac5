//! `POST /v1/auth/token`: exchanges an API key for a short token.
//!
//! The key comes in the body and nowhere else: what stands in headers and addresses ends in logs. A
//! key that does not count is answered in the same words whatever is wrong with it, at a rate that
//! makes guessing hopeless.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use cratekube_common::domain::api_key::ApiKeyText;
use cratekube_common::runtime::settings::parse_duration;
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::body;
use crate::rest::furnish::RequestId;
use crate::rest::origin::Origin;
use crate::rest::problem::{ANONYMOUS, Kind, Problem};
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::service::users::ExchangeError;

/// Longest body: a key and a lifetime are a hundred bytes.
const BODY_BYTES: usize = 4 * 1024;

/// An API key that is to become a token.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TokenRequest {
    /// The whole key.
    #[schema(write_only, example = "ckk1_…", pattern = "^ckk1_[0-9A-Za-z]{51}$")]
    api_key: String,
    /// How long the token is to live: `15m`; as long as it may when absent.
    lifetime: Option<String>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct TokenAnswer {
    /// Send it as `Authorization: Bearer <token>`.
    token: String,
    /// Always `Bearer`.
    token_type: &'static str,
    /// Ask for another one before then.
    expires_at: String,
}

/// Exchange an API key for a short token. An API key is accepted nowhere else.
#[utoipa::path(post, path = "/v1/auth/token", tag = "auth", security(()), request_body = TokenRequest,
    responses((status = 200, description = "A token", body = TokenAnswer)))]
pub(in crate::rest) async fn exchange(
    State(state): State<RestState>,
    request: Request,
) -> Result<Json<TokenAnswer>, Problem> {
    let origin = request.extensions().get::<Origin>().copied().unwrap_or(Origin(None));
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    admit(&state, origin)?;
    Params::read(request.uri(), &[])?;
    let (parts, body) = request.into_parts();
    let document = body::json(&parts.headers, body, BODY_BYTES).await?;
    let (shown, lifetime) = read(&document, state.tokens.max_lifetime())?;
    let shown: ApiKeyText = shown.parse().map_err(|_| refused("what was sent is not an API key"))?;
    let made = state.service.exchange(&state.tokens, &shown, lifetime, (origin.to_string(), request_id)).await;
    let made = made.map_err(|error| match error {
        ExchangeError::Refused(reason) => refused(reason),
        ExchangeError::Token(fault) => refused(&fault.to_string()),
        ExchangeError::Store(error) => error.into(),
        ExchangeError::Issue(fault) => {
            tracing::error!(%fault, "a token could not be made");
            Problem::internal()
        }
    })?;
    let expires_at = made.claims.expires_at().to_string();
    Ok(Json(TokenAnswer { token: made.token, token_type: "Bearer", expires_at }))
}

/// Lets so many attempts pass from one address, and so many from all.
fn admit(state: &RestState, origin: Origin) -> Result<(), Problem> {
    // Without an address there is no listener: a test, or a caller within the process.
    let Some(address) = origin.0 else { return Ok(()) };
    state.logins.take(address).map_err(|wait| {
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        Problem::new(Kind::TooManyAttempts, format!("try again in {seconds} s"))
            .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
            .refused(ANONYMOUS, "too many attempts to exchange an API key")
    })
}

fn read(document: &Value, longest: Duration) -> Result<(String, Duration), Problem> {
    body::fields(document, |object| {
        let key = object.field("api_key").required().string();
        let lifetime = object.field("lifetime");
        let wanted = lifetime.string().and_then(|text| lifetime.check(parse_duration(text)));
        let wanted = wanted.unwrap_or(longest);
        if wanted < Duration::from_secs(1) || wanted > longest {
            lifetime.error(format!("must be between 1s and {}s", longest.as_secs()));
        }
        key.map(|key| (key.to_owned(), wanted))
    })
}

fn refused(reason: &str) -> Problem {
    Problem::new(Kind::BadApiKey, "the API key is not valid").refused(ANONYMOUS, reason)
}
