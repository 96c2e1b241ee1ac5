//! The agents' side of the controller: the protocol of `proto`, above the accept loop of `edge`.
//!
//! Every call checks who is there ([`peer`]) before anything else; identity is never taken from a
//! message.

pub mod cuts;
pub mod enrollment;
pub mod foreign;
pub mod link;
mod lookthrough;
pub mod output;
pub mod peer;
pub mod session;
pub mod sizes;

use std::sync::Arc;

use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::{clock::Clock, mint::Mint};
use cratekube_proto::MAX_MESSAGE_BYTES;
use cratekube_proto::status::Refusal;
use cratekube_proto::v1::agent_link_server::AgentLinkServer;
use cratekube_proto::v1::enrollment_server::EnrollmentServer;
use tonic::Status;
use tonic::service::Routes;

use crate::edge::bucket::Buckets;
use crate::metrics::Metrics;
use crate::pki::authority::Authority;
use crate::service::dispatch::Dispatch;
use crate::service::watch::Watch;
use crate::store::{Store, StoreError};

/// What the calls need.
#[derive(Debug, Clone)]
pub struct GrpcState {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The conversation with agents.
    pub dispatch: Arc<Dispatch>,
    /// Who is told of new output.
    pub watch: Watch,
    /// Makes agents' certificates.
    pub authority: Arc<Authority>,
    /// Ends the connections of agents that are locked out.
    pub cuts: cuts::Cuts,
    /// How fast strangers may try join tokens.
    pub enrolments: Arc<Buckets>,
    /// Counts what happens here.
    pub metrics: Metrics,
    /// How often agents send heartbeats.
    pub heartbeat_interval: std::time::Duration,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub mint: Mint,
    /// Ends sessions.
    pub shutdown: Shutdown,
}

/// All services as a router for the accept loop.
pub fn router(state: GrpcState) -> axum::Router {
    let enrollment = EnrollmentServer::new(enrollment::Enroll::new(state.clone()))
        .max_decoding_message_size(64 * 1024)
        .max_encoding_message_size(64 * 1024);
    let link = AgentLinkServer::new(link::Link::new(state))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let routes = Routes::new(enrollment).add_service(link).into_axum_router();
    routes.layer(axum::middleware::map_response(sizes::of_call))
}

/// A fault of the store, as agents see it.
pub(crate) fn store_status(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) => Refusal::Unavailable.status("the store is not available; try again"),
        StoreError::Open(_) | StoreError::Damaged(_) => Refusal::Internal.status("a fault of the controller's store"),
    }
}
