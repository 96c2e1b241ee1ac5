//! The controller: REST API for users, desired state, scheduling, history.
//!
//! The way of one request, module by module: [`edge`] accepts the connection; [`rest`] authenticates
//! with [`auth`], authorizes and validates; [`service`] records through the [`store`];
//! [`service::dispatch`] leases tasks to agents that [`grpc`] connects; output and reports come back
//! through [`grpc`] and are settled by the store with what [`plan`] decides; [`service::watch`] tells
//! everyone who looks. [`reconcile`] runs in the background, and
//! [`metrics`] tells Prometheus. [`app`] puts it together.
//!
//! [`client`] is the other program of this package, `cratekube`: it talks to the REST API from outside
//! and uses nothing of the rest.

pub mod anchor;
pub mod app;
pub mod auth;
pub mod backup;
pub mod cli;
pub mod client;
pub mod config;
pub mod datadir;
pub mod edge;
pub mod errors;
pub mod grpc;
pub mod keys;
pub mod metrics;
pub mod pki;
pub mod plan;
pub mod reconcile;
pub mod rekey;
pub mod rest;
pub mod service;
pub mod store;
