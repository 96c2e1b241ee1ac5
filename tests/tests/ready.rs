//! A cluster that is ready to use: what the agent does in it after `rke`, against the small Kubernetes API.

#[path = "ready/access.rs"]
mod access;
#[path = "ready/basics.rs"]
mod basics;
#[path = "ready/house.rs"]
mod house;
#[path = "ready/killed.rs"]
mod killed;
#[path = "ready/plan.rs"]
mod plan;
#[path = "ready/resources.rs"]
mod resources;
#[path = "ready/rotate.rs"]
mod rotate;
#[path = "ready/support.rs"]
mod support;
#[path = "ready/verify.rs"]
mod verify;
