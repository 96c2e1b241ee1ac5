//! Who is calling, and what they may do where.
//!
//! Routes that need a token are wrapped in [`authenticate`] by the router, so an endpoint cannot
//! forget it; what an endpoint does itself is ask for a role. Another environment's objects are not
//! there (404), whatever exists; a role that is too weak in an own environment is 403.

use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cratekube_common::domain::environment::{Role, role_in};
use cratekube_common::domain::name::EnvironmentName;
use http::{HeaderMap, Uri, header, request::Parts};

use super::furnish::RequestId;
use super::origin::Origin;
use super::problem::{ANONYMOUS, Kind, Problem};
use super::query::Params;
use super::state::RestState;
use crate::auth::Claims;
use crate::service::Actor;

/// An authenticated caller; an extension of every request to a route that needs a token.
#[derive(Debug, Clone)]
pub struct Caller {
    actor: Arc<Actor>,
    claims: Arc<Claims>,
}

impl Caller {
    /// The caller as verbs know it.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// What the caller's token says.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Waits until the caller's token counts no more; says why. What stays open longer than a moment
    /// waits for this beside its work.
    pub(super) async fn over(&self, state: &RestState) -> &'static str {
        let lifetime = self.claims.expires_at().since(state.service.clock.now());
        tokio::select! {
            () = tokio::time::sleep(lifetime) => "the token has expired",
            () = state.tokens.revoked(&self.claims) => "the token was revoked",
        }
    }

    /// Whether the caller's token counts no more: for what is sent in parts.
    pub(super) fn is_over(&self, state: &RestState) -> bool {
        state.tokens.is_revoked(&self.claims) || self.claims.expires_at() <= state.service.clock.now()
    }

    /// Whether the caller has any role in the environment.
    #[must_use]
    pub fn sees(&self, environment: &EnvironmentName) -> bool {
        role_in(&self.actor.grants, environment).is_some()
    }

    /// Asks for a role in an environment.
    ///
    /// # Errors
    /// 404 when the caller has none there, 403 when it is too weak.
    pub fn require(&self, role: Role, environment: &EnvironmentName) -> Result<(), Problem> {
        match role_in(&self.actor.grants, environment) {
            Some(given) if given >= role => Ok(()),
            Some(given) => {
                let detail = format!("this needs the role {role} in {environment}; yours is {given}");
                Err(Problem::new(Kind::Forbidden, detail.clone()).refused(&self.actor.subject, detail))
            }
            None => Err(Problem::not_found().refused(&self.actor.subject, format!("no role in {environment}"))),
        }
    }

    /// Whether the caller is admin in every environment.
    #[must_use]
    pub fn administers(&self) -> bool {
        self.actor.grants.iter().any(|g| g.role == Role::Admin && g.environments.is_any())
    }

    /// Asks for the role admin in every environment.
    ///
    /// # Errors
    /// 403 without it.
    pub fn require_admin(&self) -> Result<(), Problem> {
        if self.administers() {
            return Ok(());
        }
        let detail = "this needs the role admin in all environments (`*`)";
        Err(Problem::new(Kind::Forbidden, detail).refused(&self.actor.subject, detail))
    }
}

impl Caller {
    /// The object of a request that says nothing but which one it is, for administrators.
    ///
    /// # Errors
    /// 403 for others, 400 for parameters, 404 for what is no id.
    pub(super) fn administered<T: FromStr>(&self, uri: &Uri, id: &str) -> Result<T, Problem> {
        self.require_admin()?;
        Params::read(uri, &[])?;
        id.parse().map_err(|_| Problem::not_found())
    }
}

impl FromRequestParts<RestState> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &RestState) -> Result<Self, Problem> {
        // Absent only when a route was left out of `authenticate`: a defect, and closed.
        parts.extensions.get::<Self>().cloned().ok_or_else(Problem::internal)
    }
}

/// Lets a request pass when it carries a valid token.
pub(super) async fn authenticate(State(state): State<RestState>, mut request: Request, next: Next) -> Response {
    match identify(&state, &request) {
        Ok(caller) => {
            tracing::debug!(subject = %caller.actor.subject, "caller authenticated");
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(reason) => Problem::new(Kind::Unauthorized, "the token is missing or not valid")
            .refused(ANONYMOUS, reason)
            .into_response(),
    }
}

fn identify(state: &RestState, request: &Request) -> Result<Caller, String> {
    let token = bearer(request.headers())?;
    let claims = state.tokens.verify(token).map_err(|fault| fault.to_string())?;
    let origin = request.extensions().get::<Origin>().copied().unwrap_or(Origin(None));
    let request_id = request.extensions().get::<RequestId>().map(|id| id.0.clone());
    let actor = Actor {
        subject: claims.subject.clone(),
        grants: claims.grants.clone(),
        origin: origin.to_string(),
        request_id: request_id.unwrap_or_default(),
    };
    Ok(Caller { actor: Arc::new(actor), claims })
}

fn bearer(headers: &HeaderMap) -> Result<&str, String> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let value = given.next().ok_or("no token was sent")?;
    if given.next().is_some() {
        return Err("more than one Authorization header".to_owned());
    }
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or("not a bearer token")?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("not a bearer token".to_owned());
    }
    Ok(token.trim())
}
