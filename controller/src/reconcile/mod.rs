//! Background loops: idempotent passes that take no input, run by a timer, one after the other.
//!
//! Each pass could be run at any time, any number of times; what it did last is logged when it did
//! something or failed.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::anchor::Anchor;
use crate::edge::renewal::Renewal;
use crate::grpc::cuts::Cuts;
use crate::keys::signing::Watched;
use crate::metrics::Happened;
use crate::service::Service;
use crate::service::dispatch::Dispatch;
use crate::service::revocations::Refresh;
use crate::store::Store;

/// How often forgotten things are thrown away.
const PURGE_EVERY: Duration = Duration::from_secs(600);

/// How often it is looked whether an agent was locked out: it must be cut within five seconds.
const CUT_EVERY: Duration = Duration::from_secs(1);
/// How often the files of certificates are read again: tools that renew them do so days ahead.
const LOOK_AT_CERTIFICATES_EVERY: Duration = Duration::from_secs(60);
/// How often what other processes revoked or rotated is looked for: it is to take effect within 5 s.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often it is looked whether a scan for orphans is due: they are hours apart.
const LOOK_WHETHER_DUE_EVERY: Duration = Duration::from_secs(60);
/// How often what happened is counted: never more of it than a scrape counts in one go.
const COUNT_EVERY: Duration = Duration::from_secs(10);
/// How old the anchor of the audit log may be: what is cut off within this time is not seen.
const ANCHOR_EVERY: Duration = Duration::from_secs(5);

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

/// Has agents look for orphans in the cloud when that is due, until told to stop.
pub fn scan_for_orphans(tasks: &TaskTracker, service: Service, stop: &CancellationToken) {
    tasks.spawn(drive("orphans", LOOK_WHETHER_DUE_EVERY, stop.clone(), move || {
        let service = service.clone();
        async move { service.scan_when_due().await }
    }));
}

/// Keeps the listeners' certificates fresh, and looks at once when told to, until told to stop.
pub fn renew_certificates(
    tasks: &TaskTracker,
    renewals: Arc<Vec<Renewal>>,
    look: Arc<Notify>,
    stop: &CancellationToken,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_AT_CERTIFICATES_EVERY) => {}
                () = look.notified() => {}
            }
            for renewal in renewals.iter() {
                renewal.pass();
            }
        }
    });
}

/// Counts what happened, also while nobody looks, until told to stop.
pub fn count(tasks: &TaskTracker, happened: Arc<Happened>, stop: &CancellationToken) {
    tasks.spawn(drive("metrics", COUNT_EVERY, stop.clone(), move || {
        let happened = Arc::clone(&happened);
        async move { happened.count().await }
    }));
}

/// What concerns users, and is changed by other processes too.
#[derive(Debug)]
pub struct OfUsers {
    /// Revocations.
    pub revocations: Refresh,
    /// Keys that sign tokens.
    pub keys: Arc<Watched>,
    /// The end of the audit log.
    pub anchor: Arc<Anchor>,
}

/// Runs the passes that concern users until told to stop.
pub fn start_of_users(
    tasks: &TaskTracker,
    of_users: OfUsers,
    store: Arc<dyn Store>,
    clock: Clock,
    stop: &CancellationToken,
) {
    let OfUsers { revocations, keys, anchor } = of_users;
    let revocations = Arc::new(revocations);
    tasks.spawn(drive("revocations", LOOK_EVERY, stop.clone(), move || {
        let revocations = Arc::clone(&revocations);
        async move { revocations.look().await }
    }));
    let keys_clock = Arc::clone(&clock);
    tasks.spawn(drive("signing-keys", LOOK_EVERY, stop.clone(), move || {
        let looked = keys.look(keys_clock.now()).map(u64::from);
        async move { looked }
    }));
    tasks.spawn(drive("audit-anchor", ANCHOR_EVERY, stop.clone(), move || {
        let (anchor, store, now) = (Arc::clone(&anchor), Arc::clone(&store), clock.now());
        async move { anchor.advance(store.as_ref(), now).await.map(u64::from) }
    }));
}

async fn drive<F, E>(name: &'static str, every: Duration, stop: CancellationToken, mut pass: impl FnMut() -> F)
where
    F: Future<Output = Result<u64, E>>,
    E: Display,
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
