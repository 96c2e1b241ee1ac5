//! Refusals and faults as problem documents (RFC 9457), from one table.
//!
//! A handler answers `Err(Problem)`. As a response it is a status and an extension; the document is
//! written by [`super::furnish`], which knows the request id and the path. So everything that leaves
//! the router with a status of 400 or more, whoever made it, is a document of this form.

use axum::response::{IntoResponse, Response};
use cratekube_common::intake::Fault;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::service::ServiceError;
use crate::store::StoreError;

/// Media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Whom the audit names when there is no valid token.
pub(super) const ANONYMOUS: &str = "anonymous";

/// Seconds that a client should wait before it repeats a request that may succeed later.
const RETRY_AFTER_S: u16 = 2;

/// The same when an agent must come back first: its longest pause between two tries to connect.
const RETRY_AFTER_AGENT_S: u16 = 30;
/// The same when an agent must be upgraded first.
const RETRY_AFTER_UPGRADE_S: u16 = 3_600;

macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident = $slug:literal, $status:ident, $retryable:literal, $title:literal, $remedy:literal;)+) => {
        /// What kind of problem it is. The slug is stable: programs may rely on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $title] $kind),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The last part of its type URI.
            #[must_use]
            pub const fn slug(self) -> &'static str { match self { $(Self::$kind => $slug),+ } }

            /// The status it is sent with.
            #[must_use]
            pub const fn status(self) -> StatusCode { match self { $(Self::$kind => StatusCode::$status),+ } }

            /// Whether the same request may succeed later.
            #[must_use]
            pub const fn retryable(self) -> bool { match self { $(Self::$kind => $retryable),+ } }

            /// What it is, in a sentence that is always the same.
            #[must_use]
            pub const fn title(self) -> &'static str { match self { $(Self::$kind => $title),+ } }

            /// What to do about it, unless the case has a better answer.
            #[must_use]
            pub const fn remedy(self) -> &'static str { match self { $(Self::$kind => $remedy),+ } }
        }
    };
}

kinds! {
    // kind            slug                     status                  retryable  title, remedy
    InvalidRequest   = "invalid-request",       BAD_REQUEST,            false, "The request is malformed", "Correct the request.";
    InvalidJson      = "invalid-json",          BAD_REQUEST,            false, "The body is not valid JSON", "Send one JSON document without repeated keys.";
    InvalidParameter = "invalid-parameter",     BAD_REQUEST,            false, "A parameter or header is invalid", "Correct what `errors` lists.";
    InvalidCursor    = "invalid-cursor",        BAD_REQUEST,            false, "The cursor is invalid", "Use the `next` of the page before, with the same filters, or begin without a cursor.";
    Unauthorized     = "unauthorized",          UNAUTHORIZED,           false, "A valid token is required", "Send `Authorization: Bearer <token>` with a token that has not expired.";
    BadApiKey        = "invalid-api-key",       UNAUTHORIZED,           false, "The API key is not valid", "Send a whole API key that has not expired; ask an administrator for a new one.";
    Forbidden        = "forbidden",             FORBIDDEN,              false, "Your role does not allow this", "Ask an administrator for the role that `detail` names.";
    NotFound         = "not-found",             NOT_FOUND,              false, "There is no such thing, or you may not see it", "Check the address and your grants.";
    NothingOffered   = "nothing-offered",       NOT_FOUND,              false, "No agents are offered here", "Set `install.agent_binaries` on the controller, or install the agent's package.";
    MethodNotAllowed = "method-not-allowed",    METHOD_NOT_ALLOWED,     false, "The method is not allowed here", "Use one of the methods that the header `Allow` lists.";
    Exists           = "cluster-exists",        CONFLICT,               false, "A cluster of this name exists", "Choose another name, or remove the cluster first.";
    Busy             = "cluster-busy",          CONFLICT,               true,  "Another operation is at work on the cluster", "Wait until the operation in `operation` has ended.";
    NotAllowed       = "not-allowed-now",       CONFLICT,               false, "The cluster's phase does not allow this", "Look at the cluster's phase and conditions.";
    Acknowledged     = "alarm-acknowledged",    CONFLICT,               false, "Somebody has seen to this alarm", "Look at who, and what was found.";
    SigningKeysLive  = "signing-keys-live",     CONFLICT,               true,  "Two signing keys are live", "Wait until the tokens of the older one have ended, or rotate with `at_once` and end every token.";
    CaPhase          = "ca-rotation-step",      CONFLICT,               false, "It is not this step's turn in the CA's rotation", "Look at the CA's `phase`: rotate, switch, finish; `roll-back` goes back from the first two. A step that is repeated after its answer was lost may have been the last.";
    AgentsBehind     = "agents-behind",         CONFLICT,               true,  "Agents would be left behind", "Wait until they have connected: they take the CA over by themselves. Repeat the request with `leave_behind` if they will not come back, or are to be enrolled again.";
    TokenUsed        = "join-token-used",       CONFLICT,               false, "The join token was used", "Revoke the agent that it made, if it should not be there.";
    Protected        = "deletion-protected",    CONFLICT,               false, "The cluster is protected against removal", "Take the protection away first: PATCH the cluster with `{\"deletion_protection\": false, \"reason\": …}`.";
    Over             = "operation-over",        CONFLICT,               false, "The operation has ended", "Look at its outcome; `retry` asks for the same again where it did not succeed.";
    NotOver          = "operation-not-over",    CONFLICT,               true,  "The operation has not ended", "Wait until it has ended, or cancel it.";
    NotLocked        = "not-locked",            CONFLICT,               false, "No run holds the cluster", "There is nothing to unlock.";
    RunHolds         = "run-holds-cluster",     CONFLICT,               true,  "A run holds the cluster", "Cancel the operation and wait until its run has ended; if its agent will not come back, give the run up first (`force-unlock`).";
    Scanning         = "orphan-scan-at-work",   CONFLICT,               true,  "A scan for orphans is at work", "Wait until the scan in `scan` has ended.";
    AgentConnected   = "agent-connected",       CONFLICT,               false, "The agent is connected", "Cancel the operation, or drain the agent: nothing is unknown while it is here.";
    AgentHolds       = "agent-holds-runs",      CONFLICT,               false, "The agent holds runs whose ends are not known", "Wait until it comes back, or repeat the request with `force` once it is certain that no `rke` of it is at work.";
    AgentState       = "agent-state",           CONFLICT,               false, "The agent's state does not allow this", "Look at the agent's state; `uncordon` brings one back that is draining.";
    Changed          = "revision-changed",      PRECONDITION_FAILED,    false, "The cluster changed since you looked", "Look at it again and repeat the request with the new `ETag`.";
    ResourceChanged  = "resource-changed",      PRECONDITION_FAILED,    false, "The resource is not as you have seen it", "Look at it again and repeat the request with the new `ETag`.";
    MatchRequired    = "if-match-required",     PRECONDITION_REQUIRED,  false, "The request must say which revision it changes", "Look at it and send its `ETag` in `If-Match`.";
    PlanChanged      = "plan-changed",          CONFLICT,               false, "Something changed since the plan was made", "Ask for a new plan, look at it, and repeat the request with its digest.";
    TooManyResources = "too-many-resources",    CONFLICT,               false, "There are too many managed resources", "Delete some that are not needed, or put several objects into one manifest.";
    BodyTooLarge     = "body-too-large",        PAYLOAD_TOO_LARGE,      false, "The body is too large", "Send less: `detail` names the limit.";
    MediaType        = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, false, "The body's type is not supported", "Send `Content-Type: application/json`, without compression.";
    Range            = "range-not-satisfiable", RANGE_NOT_SATISFIABLE,  false, "The range lies outside of the output", "Ask for bytes that exist: the header `Content-Range` names the size.";
    Validation       = "validation",            UNPROCESSABLE_ENTITY,   false, "The request is understood but not acceptable", "Correct what `errors` lists; it is complete.";
    Impossible       = "impossible-change",     UNPROCESSABLE_ENTITY,   false, "The cluster cannot be changed like this", "Leave out what `errors` lists; each says what can be done instead.";
    ConsentRequired  = "consent-required",      UNPROCESSABLE_ENTITY,   false, "The change costs more than was allowed", "Look at what `errors` lists, and repeat the request with `allow`, or with the digest of a plan, if it is meant.";
    Policy           = "refused-by-policy",     UNPROCESSABLE_ENTITY,   false, "The environment's policy refuses this", "Do what `detail` says, or ask an operator of the service about the policy.";
    KeyReused        = "idempotency-key-reused", UNPROCESSABLE_ENTITY,  false, "The idempotency key was used for another request", "Use a new key for a new request.";
    TooManyStreams   = "too-many-streams",      TOO_MANY_REQUESTS,      true,  "You have too many streams open", "Close one of them first.";
    TooManyAttempts  = "too-many-attempts",     TOO_MANY_REQUESTS,      true,  "Too many attempts", "Repeat the request after the time in `Retry-After`; a token can be used until it ends.";
    Internal         = "internal",              INTERNAL_SERVER_ERROR,  false, "Something went wrong on our side", "Report the `request_id` to the service's operator.";
    CaStep           = "ca-step-unfinished",    INTERNAL_SERVER_ERROR,  true,  "The step of the CA's rotation was not taken to its end", "See the controller's log, mend what it names (space, permissions), and repeat the step.";
    Overloaded       = "overloaded",            SERVICE_UNAVAILABLE,    true,  "The controller has too much to do", "Repeat the request after the time in `Retry-After`.";
    Timeout          = "timeout",               SERVICE_UNAVAILABLE,    true,  "The request took too long", "Repeat the request; use an `Idempotency-Key` for one that changes something.";
    AgentAway        = "agent-away",            SERVICE_UNAVAILABLE,    true,  "The agent of the cluster is not connected", "Repeat the request when it is: the cluster itself is not touched by this.";
    AgentTooOld      = "agent-too-old",         SERVICE_UNAVAILABLE,    true,  "The agent of the cluster is too old for this", "Ask an operator of the service to upgrade the agent that `detail` names.";
    Unanswered       = "agent-could-not",       BAD_GATEWAY,            true,  "The agent could not do this", "Do what `failure` says.";
    NotReady         = "not-ready",             SERVICE_UNAVAILABLE,    true,  "The controller is not ready", "Look at `checks`; the reasons are in the controller's log.";
    Unavailable      = "store-unavailable",     SERVICE_UNAVAILABLE,    true,  "The controller cannot reach its store", "Repeat the request after the time in `Retry-After`; use an `Idempotency-Key` for one that changes something.";
}

/// One mistake in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Mistake {
    /// JSON pointer into the body, for a mistake in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Name of the parameter or header, for a mistake outside of the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// What is wrong and how to mend it.
    pub detail: String,
}

impl From<Fault> for Mistake {
    fn from(fault: Fault) -> Self {
        Self { pointer: Some(fault.pointer), parameter: None, detail: fault.detail }
    }
}

/// What the audit is to know of a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who was refused; `anonymous` without a valid token.
    pub actor: String,
    /// Why, for the audit alone.
    pub reason: String,
}

/// A refusal or fault. Small, because nearly everything may answer one; the details are elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    kind: Kind,
    about: Box<About>,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct About {
    detail: String,
    mistakes: Vec<Mistake>,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
    refusal: Option<Refusal>,
}

impl Problem {
    /// A problem of a kind; `detail` says what is the matter this time. Never internals.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, about: Box::new(About { detail: detail.into(), ..About::default() }) }
    }

    /// Mistakes in a body, all of them.
    #[must_use]
    pub fn validation(faults: Vec<Fault>) -> Self {
        let detail = format!("the request has {} mistake(s)", faults.len());
        Self::mistakes(Kind::Validation, detail, faults)
    }

    /// A problem with places in the body.
    #[must_use]
    pub fn mistakes(kind: Kind, detail: impl Into<String>, faults: Vec<Fault>) -> Self {
        let mut problem = Self::new(kind, detail);
        problem.about.mistakes = faults.into_iter().map(Mistake::from).collect();
        problem
    }

    /// A mistake in a parameter or header.
    #[must_use]
    pub fn parameter(kind: Kind, parameter: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let mut problem = Self::new(kind, format!("{parameter}: {detail}"));
        problem.about.mistakes.push(Mistake { pointer: None, parameter: Some(parameter.to_owned()), detail });
        problem
    }

    /// Not there, or not for the caller: the same words for both.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Kind::NotFound, "nothing that you may see is at this address")
    }

    /// Tells the audit.
    #[must_use]
    pub fn refused(mut self, actor: &str, reason: impl Into<String>) -> Self {
        self.about.refusal = Some(Refusal { actor: actor.to_owned(), reason: reason.into() });
        self
    }

    /// Sends a header along.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.about.headers.push((name, value));
        self
    }

    /// Adds a member to the document.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: Value) -> Self {
        self.about.members.push((name, value));
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the audit is to know.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.about.refusal.as_ref()
    }

    /// What a status that something else answered with means.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found(),
            StatusCode::METHOD_NOT_ALLOWED => Self::new(Kind::MethodNotAllowed, "this address knows other methods"),
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(Kind::BodyTooLarge, "the body is larger than this address takes")
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(Kind::MediaType, "the body is not JSON"),
            status if status.is_client_error() => Self::new(Kind::InvalidRequest, "the request cannot be read"),
            _ => Self::internal(),
        }
    }

    /// A fault of ours; what it was is in the log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Kind::Internal, "the fault was recorded under the request id")
    }

    /// The document.
    #[must_use]
    pub fn document(&self, instance: &str, request_id: &str) -> Value {
        let mut document = json!({
            "type": format!("/problems/{}", self.kind.slug()),
            "title": self.kind.title(),
            "status": self.kind.status().as_u16(),
            "detail": self.about.detail,
            "instance": instance,
            "request_id": request_id,
            "retryable": self.kind.retryable(),
            "remedy": self.kind.remedy(),
        });
        if !self.about.mistakes.is_empty() {
            document["errors"] = json!(self.about.mistakes);
        }
        for (name, value) in &self.about.members {
            document[*name] = value.clone();
        }
        document
    }

    /// Headers that go with it.
    pub(super) fn add_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.about.headers.iter().cloned());
        if matches!(self.kind.status(), StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.entry(header::RETRY_AFTER).or_insert(HeaderValue::from(RETRY_AFTER_S));
        }
        if self.kind.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cratekube\""));
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => {
                tracing::warn!(%error, "a request failed because the store is not available");
                Self::new(
                    Kind::Unavailable,
                    "the store did not take the request; nothing was changed that you were not told of",
                )
            }
            StoreError::Open(_) | StoreError::Damaged(_) => {
                tracing::error!(%error, "a request failed because of a fault of the store");
                Self::internal()
            }
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Store(error) => error.into(),
            ServiceError::KeyReused => Self::parameter(Kind::KeyReused, "Idempotency-Key", error.to_string()),
            ServiceError::Exists => {
                Self::new(Kind::Exists, "the environment has a cluster of this name that is not removed")
            }
            ServiceError::NotFound => Self::not_found(),
            ServiceError::Busy(operation) => Self::new(Kind::Busy, error.to_string())
                .with_member("operation", json!(format!("/v1/operations/{operation}"))),
            ServiceError::Changed(revision) => {
                Self::new(Kind::Changed, error.to_string()).with_header(header::ETAG, super::etag(revision))
            }
            ServiceError::ResourceChanged(revision) => {
                let problem = Self::new(Kind::ResourceChanged, error.to_string());
                if revision == 0 { problem } else { problem.with_header(header::ETAG, super::etag(revision)) }
            }
            ServiceError::ResourceUnseen(revision) => {
                let detail = format!("is required: {error}; whose changes would you overwrite?");
                Self::parameter(Kind::MatchRequired, "If-Match", detail)
                    .with_header(header::ETAG, super::etag(revision))
            }
            ServiceError::TooManyResources => Self::new(Kind::TooManyResources, error.to_string()),
            ServiceError::Policy(_) => Self::new(Kind::Policy, error.to_string()),
            ServiceError::Acknowledged => Self::new(Kind::Acknowledged, error.to_string()),
            ServiceError::TokenUsed => Self::new(Kind::TokenUsed, "there is nothing left to take back"),
            ServiceError::Protected => Self::new(Kind::Protected, error.to_string()),
            ServiceError::NotAllowed(reason) => Self::new(Kind::NotAllowed, reason),
            ServiceError::Over(_) => Self::new(Kind::Over, error.to_string()),
            ServiceError::NotOver(_) => Self::new(Kind::NotOver, error.to_string()),
            ServiceError::NotLocked => Self::new(Kind::NotLocked, error.to_string()),
            ServiceError::RunHolds => Self::new(Kind::RunHolds, error.to_string()),
            ServiceError::Scanning(scan) => Self::new(Kind::Scanning, error.to_string())
                .with_member("scan", json!(format!("/v1/admin/orphan-scans/{scan}"))),
            ServiceError::AgentConnected(_) => Self::new(Kind::AgentConnected, error.to_string()),
            ServiceError::AgentState(_) => Self::new(Kind::AgentState, error.to_string()),
            ServiceError::AgentAway(_) => Self::new(Kind::AgentAway, error.to_string())
                .with_header(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_AGENT_S)),
            ServiceError::AgentTooOld(_) => Self::new(Kind::AgentTooOld, error.to_string())
                .with_header(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_UPGRADE_S)),
            ServiceError::Unanswered(failure) => Self::new(Kind::Unanswered, super::views::shown(&failure.message))
                .with_member("failure", json!(super::views::FailureView::from(&*failure))),
            ServiceError::AgentHolds(ref attempts) => {
                let attempts: Vec<String> = attempts.iter().map(ToString::to_string).collect();
                Self::new(Kind::AgentHolds, error.to_string()).with_member("attempts", json!(attempts))
            }
        }
    }
}

/// A problem document, for the OpenAPI description.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// `/problems/<kind>`; stable.
    #[schema(example = "/problems/validation")]
    r#type: String,
    /// What kind of problem it is, in words that are always the same.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is the matter this time.
    detail: String,
    /// The path of the request.
    instance: String,
    /// The request; name it when you ask for help.
    request_id: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What to do.
    remedy: String,
    /// Every mistake in the request.
    errors: Option<Vec<Mistake>>,
    /// The operation that is in the way (`cluster-busy`).
    operation: Option<String>,
    /// The scan that is in the way (`orphan-scan-at-work`).
    scan: Option<String>,
    /// Attempts that an agent holds (`agent-holds-runs`).
    attempts: Option<Vec<String>>,
    /// Why (`agent-could-not`).
    failure: Option<super::views::FailureView>,
    /// What was looked at (`not-ready`).
    checks: Option<Vec<super::health::CheckResult>>,
}
