//! What every request gets and every answer has: an id, a place, a deadline, a log line; problem
//! documents for all that went wrong, the security headers, and an audit entry for a refusal.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::audit::{AuditEntry, AuditOutcome};
use cratekube_common::runtime::mint::Mint;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use tracing::Instrument;

use super::origin::Origin;
use super::problem::{ANONYMOUS, Kind, Problem};
use super::refusals::Refused;
use super::state::RestState;
use super::visible::visible;
use crate::edge::Peer;

/// Header of the request id, both ways.
pub(super) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest request id that is taken from a client.
const MAX_REQUEST_ID: usize = 64;

/// Longest path that is quoted.
const MAX_QUOTED_PATH: usize = 256;

/// How long the audit of a refusal may hold up its answer.
const AUDIT_PATIENCE: Duration = Duration::from_secs(5);

/// The id of a request; an extension of every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId(pub(super) String);

/// What is remembered of a request for its answer, its log line and the audit.
struct Facts {
    id: String,
    method: String,
    route: String,
    path: String,
    origin: Origin,
    version: Version,
}

impl Facts {
    fn of(state: &RestState, request: &Request) -> Self {
        let path = request.uri().path();
        let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str);
        let peer = request.extensions().get::<Peer>();
        Self {
            id: request_id(request.headers(), &state.service.mint),
            method: request.method().as_str().chars().take(16).collect(),
            route: route.to_owned(),
            path: visible(&path.chars().take(MAX_QUOTED_PATH).collect::<String>()).into_owned(),
            origin: Origin::of(peer, request.headers(), &state.users.trusted_proxies),
            version: request.version(),
        }
    }
}

/// Wraps every route, and what is no route.
pub(super) async fn furnish(State(state): State<RestState>, mut request: Request, next: Next) -> Response {
    let facts = Facts::of(&state, &request);
    let began = state.service.clock.monotonic();
    request.extensions_mut().insert(RequestId(facts.id.clone()));
    request.extensions_mut().insert(facts.origin);
    let span = tracing::info_span!("request", request_id = %facts.id, method = %facts.method, route = %facts.route);
    async {
        let response = guarded(&state, &facts, request, next).await;
        let response = finish(&state, &facts, response).await;
        let elapsed = state.service.clock.monotonic().saturating_sub(began);
        state.metrics.request(&facts.method, &facts.route, response.status(), elapsed);
        let elapsed_ms = elapsed.as_millis();
        let status = response.status().as_u16();
        tracing::info!(status, elapsed_ms = u64::try_from(elapsed_ms).unwrap_or(u64::MAX), "request answered");
        response
    }
    .instrument(span)
    .await
}

/// Runs the request in a place of its own, until its deadline, and outlives its panic.
async fn guarded(state: &RestState, facts: &Facts, request: Request, next: Next) -> Response {
    let _place = match state.gate.request() {
        Ok(place) => place,
        // Health must answer when everything else is busy: that is what it is asked for.
        Err(_) if facts.route == "/healthz" || facts.route == "/readyz" => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    let patience = state.limits.request_timeout + super::operations::patience(&facts.route);
    let work = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(patience, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic's own words went to the log with the panic hook.
            tracing::error!("a request panicked; this is a defect of the controller");
            Problem::internal().into_response()
        }
        Err(_) => Problem::new(Kind::Timeout, "no answer was ready in time").into_response(),
    }
}

async fn finish(state: &RestState, facts: &Facts, response: Response) -> Response {
    let mut response = document(facts, response);
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        state.metrics.problem(problem.kind().slug());
        audit(state, facts, &problem).await;
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&facts.id) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    // Only the page for people has one of its own.
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(policy);
    response
}

/// Makes every answer of 400 and above a problem document.
fn document(facts: &Facts, response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let problem = parts.extensions.remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
    let allow = parts.headers.remove(header::ALLOW);
    let document = problem.document(&facts.path, &facts.id).to_string();
    let mut response = (problem.kind().status(), Body::from(document)).into_response();
    problem.add_headers(response.headers_mut());
    if let Some(allow) = allow {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    // The rest of a body that is too large is not read: the connection ends.
    if status == StatusCode::PAYLOAD_TOO_LARGE && facts.version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.extensions_mut().insert(problem);
    response
}

async fn audit(state: &RestState, facts: &Facts, problem: &Problem) {
    let Some(refusal) = problem.refusal() else { return };
    let who = if refusal.actor == ANONYMOUS { Refused::Anonymous } else { Refused::Known };
    state.metrics.refusal(who == Refused::Known);
    let Some(suppressed) = state.refusals.admit(who) else { return };
    let more =
        if suppressed > 0 { format!(" ({suppressed} more before this were not recorded)") } else { String::new() };
    let entry = AuditEntry {
        actor: refusal.actor.clone(),
        origin: facts.origin.to_string(),
        action: format!("{} {}", facts.method, facts.route),
        object: facts.path.clone(),
        outcome: AuditOutcome::Refused,
        detail: format!("{}{more}", refusal.reason),
        request_id: facts.id.clone(),
    };
    let recorded = state.service.store.audit(entry, state.service.clock.now());
    match tokio::time::timeout(AUDIT_PATIENCE, recorded).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "a refusal could not be recorded in the audit log"),
        Err(_) => tracing::error!("a refusal could not be recorded in the audit log in time"),
    }
}

/// The client's own id when it is sane, a new one otherwise.
fn request_id(headers: &HeaderMap, mint: &Mint) -> String {
    let sane = |id: &&str| {
        let safe = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(safe)
    };
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane);
    let given = given.or_else(|| traced(headers));
    given.map_or_else(|| mint.id::<uuid::Uuid>().to_string(), ToOwned::to_owned)
}

/// The trace that the request belongs to, when its header is as W3C's Trace Context wants it.
fn traced(headers: &HeaderMap) -> Option<&str> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    let whole = version != "00" || parts.next().is_none();
    let good = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(parent, 16) && hex(flags, 2) && whole;
    (good && !zero(trace) && !zero(parent)).then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", value.parse().ok()?);
        traced(&headers).map(ToOwned::to_owned)
    }

    #[test]
    fn a_trace_names_the_request_when_it_is_well_formed() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(trace(&format!("00-{id}-00f067aa0ba902b7-01")).as_deref(), Some(id));
        assert_eq!(trace(&format!("cc-{id}-00f067aa0ba902b7-01-later")).as_deref(), Some(id), "a later version");
        for bad in [
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{id}"),
            "00-x-y-z".to_owned(),
            String::new(),
        ] {
            assert_eq!(trace(&bad), None, "{bad}");
        }
    }
}
