//! Background loops: idempotent passes that take no input, run by a timer, one after the other.
//!
//! Each pass could be run at any time, any number of times; what it did last is logged when it did
//! something or failed.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::edge::renewal::Renewal;
use crate::grpc::cuts::Cuts;
use crate::service::dispatch::Dispatch;
use crate::store::{Store, StoreError};

/// How often forgotten things are thrown away.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// How often it is looked whether an agent was locked out: it must be cut within five seconds.
const CUT_EVERY: Duration = Duration::from_secs(1);
/// How often the files of certificates are read again: tools that renew them do so days ahead.
const LOOK_AT_CERTIFICATES_EVERY: Duration = Duration::from_secs(60);

/// Runs all passes until told to stop.
pub fn start(
    tasks: &TaskTracker,
    store: Arc<dyn Store>,
    dispatch: Arc<Dispatch>,
    clock: Clock,
    stop: &CancellationToken,
) {
    // Late leases are noticed within a quarter of their length.
    let every = dispatch.lease_ttl() / 4;
    tasks.spawn(drive("leases", every, stop.clone(), move || {
        let dispatch = Arc::clone(&dispatch);
        async move { dispatch.lose_late().await.map(|()| 0) }
    }));
    tasks.spawn(drive("purge", PURGE_EVERY, stop.clone(), move || {
        let (store, now) = (Arc::clone(&store), clock.now());
        async move { store.purge_expired(now).await }
    }));
}

/// Ends the connections of agents that were locked out, wherever that was done, until told to stop.
pub fn cut_connections(tasks: &TaskTracker, store: Arc<dyn Store>, cuts: Cuts, stop: &CancellationToken) {
    tasks.spawn(drive("cuts", CUT_EVERY, stop.clone(), move || {
        let (store, cuts) = (Arc::clone(&store), cuts.clone());
        async move { cuts.pass(&*store).await }
    }));
}

/// Keeps the listeners' certificates fresh, and looks at once when told to, until told to stop.
pub fn renew_certificates(tasks: &TaskTracker, renewals: Vec<Renewal>, look: Arc<Notify>, stop: &CancellationToken) {
    let stop = stop.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_AT_CERTIFICATES_EVERY) => {}
                () = look.notified() => {}
            }
            for renewal in &renewals {
                renewal.pass();
            }
        }
    });
}

async fn drive<F>(name: &'static str, every: Duration, stop: CancellationToken, mut pass: impl FnMut() -> F)
where
    F: Future<Output = Result<u64, StoreError>>,
{
    let mut timer = tokio::time::interval(every);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(timer.tick()).await.is_some() {
        match pass().await {
            Ok(0) => {}
            Ok(changed) => tracing::debug!(pass = name, changed, "background pass"),
            Err(error) => tracing::error!(pass = name, %error, "background pass failed; it will run again"),
        }
    }
}
