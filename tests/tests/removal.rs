//! A cluster that is removed: what the agent does in it before `rke` takes it away, against the small
//! Kubernetes API, and what of it is found in the cloud afterwards, against moto's server.

#[path = "removal/chain.rs"]
mod chain;
#[path = "removal/freeze.rs"]
mod freeze;
#[path = "removal/killed.rs"]
mod killed;
#[path = "removal/record.rs"]
mod record;
#[path = "removal/release.rs"]
mod release;
#[path = "ready/support.rs"]
mod support;
#[path = "removal/world.rs"]
mod world;
