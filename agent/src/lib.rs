//! The agent: runs RKE beside the state volume on a bastion, on behalf of the controller.

pub mod app;
pub mod clean;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod doctor;
pub mod engine;
#[cfg(test)]
mod fixtures;
pub mod identity;
pub mod kube;
pub mod link;
pub mod metrics;
pub mod port;
pub mod preflight;
pub mod provisioner;
pub mod run;
pub mod ssh;
pub mod step;
pub mod volume;
