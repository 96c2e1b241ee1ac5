//! The REST API for users: parse → authorize → one verb of [`crate::service`] → answer.
//!
//! All routes are on one page, [`mod@router`]; each endpoint is a file. Everything that a request meets
//! before its endpoint is in [`furnish`] (ids, limits, problem documents, headers, audit of refusals)
//! and [`caller`] (token and role). Not here: TLS and connections (`edge`), and what a request means
//! (`service`).

pub mod agents;
mod alarms;
mod api_keys;
mod audit;
mod auth;
mod body;
mod ca;
mod caller;
mod catalogue;
pub mod clusters;
mod cursor;
pub mod environments;
pub mod events;
mod furnish;
pub mod generations;
mod health;
mod idempotency;
mod install;
pub mod join_tokens;
pub mod limits;
pub mod openapi;
pub mod operations;
mod origin;
mod orphan_scans;
mod orphans;
mod output;
pub mod problem;
mod problems;
mod quarantine;
mod query;
mod reason;
mod refusals;
mod resources;
mod revisions;
mod revocations;
mod router;
mod signing_keys;
mod sse;
mod state;
mod summary;
mod ui;
mod views;
mod volumes;

pub use caller::Caller;
pub use cratekube_common::visible;
pub use install::Offer;
pub use limits::Limits;
pub use problem::{Kind, Problem};
pub use router::router;
pub use state::{Certificates, Check, RestParts, RestState, UserSettings};

use http::HeaderValue;

/// The entity tag of a revision.
fn etag(revision: u64) -> HeaderValue {
    // Digits between quotes are always a valid header value.
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
