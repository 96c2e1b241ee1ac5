//! The agent's Kubernetes side: what is done in a cluster once `rke` has built it, and before it takes it away.
//!
//! - [`configure`]: namespaces, accounts and rights for users, managed resources.
//! - [`verify`]: what a user would check, and, for hardened clusters, [`cis`].
//! - [`issue`]: kubeconfigs for users.
//! - [`removal`]: what a cluster holds in the cloud, before it is removed.
//!
//! Everything is done again without harm: by server-side apply, under one field manager, or by looking.
//! The administrator's kubeconfig never leaves this module but through [`issue`]; nothing of it, and no
//! manifest, is printed.

mod admin;
mod api;
mod basics;
mod certificates;
mod cis;
pub mod configure;
mod fault;
pub mod issue;
mod kinds;
mod manage;
mod nodes;
pub mod removal;
mod rights;
mod served;
pub mod verify;
mod wait;
mod workloads;

/// Owner of every field that the agent sets.
pub const FIELD_MANAGER: &str = "cratekube";
/// The administrator's kubeconfig, as `rke` writes it into the working directory.
const KUBECONFIG: &str = "kube_config_cluster.yml";
/// RKE's state, in the working directory.
const STATE: &str = "cluster.rkestate";
