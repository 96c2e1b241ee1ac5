//! A removal of a cluster that was removed before: nothing is left for `rke`, and that is told.
//!
//! A removal goes on after `rke remove`. When it is tried again from its start because something failed
//! later, this piece of it is done already.

use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::runtime::files;

use super::attend::Live;
use super::core::Core;
use super::finish;
use super::prepare::Prepared;
use super::recover::Over;

/// What is said.
const SAID: &str = "the cluster was removed from its hosts before: rke is not started";

/// Tells that there is nothing to do.
pub(crate) fn again(core: &Core, prepared: Prepared) -> Over {
    let Prepared { journal, record, cluster, lock, .. } = prepared;
    let at = core.clock.now();
    let text = format!("{SAID}\n");
    let written = files::write_new(&journal.output(), text.as_bytes());
    let report = RunReport {
        attempt: record.attempt,
        fence: record.fence,
        outcome: RunOutcome::Succeeded,
        exit: None,
        started_at: Some(at),
        ended_at: core.clock.now(),
        generation: None,
        rke: None,
        warnings: vec![SAID.to_owned()],
        output_bytes: written.map_or(0, |()| text.len() as u64),
        findings: None,
    };
    finish::write_result(core, &journal, &report);
    tracing::info!(attempt = %report.attempt, "the cluster was removed before");
    let live = Live {
        journal,
        record,
        cluster,
        supervisor: None,
        child: None,
        lock: Some(lock),
        host_lost: false,
        volume_failed: false,
        at,
    };
    Over { whose: live.whose(), journal: live.journal, report }
}
