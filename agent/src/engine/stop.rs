//! Ending a run on request: TERM to `rke`'s group, a grace, KILL. `rke` dies of TERM at once and in the
//! middle of whatever it does; what it left is sealed and judged like any other end.
//!
//! That it was asked for is noted first, so that an agent that is restarted in between goes on with it.
//! The time limit is the supervisor's business.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::watch;

use super::core::Core;
use super::held::Wish;
use crate::run::journal::{Journal, Mark, ProcessId};

/// How often the journal is looked at for `rke`'s number, while its supervisor is just starting.
const SOON: Duration = Duration::from_millis(10);

/// Waits until someone wants the run to end, and ends it. Never returns: the end is seen by whoever
/// waits for the supervisor.
pub(crate) async fn on_wish(core: &Arc<Core>, journal: &Journal, grace: Duration, mut wishes: watch::Receiver<Wish>) {
    let mut cancel = journal.has(Mark::Cancel);
    while !cancel {
        match wishes.wait_for(|wish| *wish != Wish::GoOn).await.map(|wish| *wish) {
            Ok(wish) => {
                note(core, journal, wish).await;
                cancel = true;
            }
            Err(_) => std::future::pending().await,
        }
    }
    let rke = rke(journal).await;
    end(core, rke, Signal::TERM);
    tokio::time::sleep(grace).await;
    end(core, rke, Signal::KILL);
    std::future::pending::<()>().await;
}

async fn note(core: &Arc<Core>, journal: &Journal, wish: Wish) {
    let noting = journal.clone();
    let noted = core.blocking(move |_| {
        noting.mark(Mark::Cancel)?;
        if wish == Wish::Forget { noting.mark(Mark::Forgotten) } else { Ok(()) }
    });
    if let Err(error) = noted.await.and_then(|n| n.map_err(io::Error::other)) {
        tracing::error!(run = %journal.dir().display(), %error, "cannot note that a run is to be ended");
    }
}

async fn rke(journal: &Journal) -> ProcessId {
    loop {
        if let Some(rke) = journal.supervisor().ok().flatten().and_then(|record| record.rke) {
            return rke;
        }
        tokio::time::sleep(SOON).await;
    }
}

/// Signals `rke`'s group.
pub(crate) fn end(core: &Core, rke: ProcessId, signal: Signal) {
    if let Err(error) = core.host.signal_group(rke, signal) {
        tracing::error!(pid = rke.pid, ?signal, %error, "cannot signal rke");
    }
}
