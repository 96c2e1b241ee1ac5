//! A small Kubernetes API: what the clusters of a rehearsal answer with.
//!
//! It runs inside the process of a test, as a task (a quickstart has a process for it), and is reached as clusters behind a proxy are:
//! `CONNECT <address>:6443` is answered where the [`Fleet`] has a running `kube-apiserver`. TLS is
//! served with that cluster's own certificate and asks for certificates of its CA, so that a client
//! that mixes clusters up is refused as it would be for real. One request is one call of
//! [`cluster::Cluster::answer`], under a lock: authenticate → authorize (by the RBAC objects that it
//! holds) → admit → store → let the controllers act.
//!
//! It is faithful in what a client must get right: Status objects, resource versions, owners of fields
//! and their conflicts, pages, finalizers, dry runs, subject access reviews, tokens, pod security,
//! admission policies. Nothing runs in it: workloads are ready at once, volumes and load balancers are
//! names. Not here: watches, protobuf, tables, schemas, aggregation of API servers.

mod admission;
mod apply;
mod authority;
mod cluster;
mod control;
mod controllers;
mod identity;
mod kinds;
mod objects;
mod proxy;
mod rbac;
mod request;
mod reviews;
mod seed;
mod status;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use cratekube_common::runtime::files;

use crate::rehearsal::fleet::Fleet;

pub use control::{ClusterApi, Hold, Seen};

/// Serves the clusters of a fleet until it is killed: `<fleet> <note>` on the command line.
#[must_use]
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [fleet, note] = words.as_slice() else { return ExitCode::from(2) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| {
        runtime.block_on(async {
            let api = ClusterApi::start(&Fleet::open(Path::new(fleet))).await?;
            files::write_atomic(Path::new(note), api.url().as_bytes())?;
            api.ended().await;
            Ok(())
        })
    });
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
