//! Every run that is held: from the moment it is assigned until its report is recorded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AttemptId, ClusterId, VolumeId};
use cratekube_common::domain::run::{HeldRun, RunReport};
use cratekube_common::domain::time::Timestamp;
use tokio::sync::watch;

use crate::port::{Event, OutputSource};
use crate::run::journal::Journal;

/// Whose run it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) attempt: AttemptId,
    pub(crate) fence: Fence,
    pub(crate) cluster: ClusterId,
    pub(crate) volume: VolumeId,
}

/// What the controller wants of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wish {
    /// To go on.
    #[default]
    GoOn,
    /// To be ended and reported.
    Cancel,
    /// To be ended and kept as evidence only.
    Forget,
}

/// When a run started, and where its output is.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) at: Timestamp,
    pub(crate) output: OutputSource,
}

#[derive(Debug)]
struct Held {
    whose: Whose,
    wish: watch::Sender<Wish>,
    /// Where it is noted, once there is such a place.
    journal: Option<Journal>,
    started: Option<Started>,
    live: bool,
    report: Option<RunReport>,
    forgotten: bool,
}

/// The table of held runs.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<BTreeMap<AttemptId, Held>>);

impl Table {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<AttemptId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a run, unless it is held already. With `slots` it is a new one: then a slot must be free, and
    /// no other run may be on in its cluster.
    pub(crate) fn take(&self, whose: Whose, slots: Option<u32>) -> Taken {
        let mut held = self.lock();
        if held.contains_key(&whose.attempt) {
            return Taken::AlreadyHeld;
        }
        if let Some(slots) = slots {
            if in_use(&held) >= slots {
                return Taken::NoSlot;
            }
            // The lock on the volume says the same; but a run that ended while no agent was there, and
            // is about to be sealed, holds none.
            if held.values().any(|h| h.whose.cluster == whose.cluster && h.report.is_none()) {
                return Taken::Busy;
            }
        }
        let (wish, wishes) = watch::channel(Wish::GoOn);
        let new = Held { whose, wish, journal: None, started: None, live: false, report: None, forgotten: false };
        held.insert(whose.attempt, new);
        Taken::Held(wishes)
    }

    /// Notes where a run is journaled.
    pub(crate) fn journaled(&self, attempt: AttemptId, journal: &Journal) {
        if let Some(held) = self.lock().get_mut(&attempt) {
            held.journal = Some(journal.clone());
        }
    }

    /// Attempts that execute.
    pub(crate) fn in_use(&self) -> u32 {
        in_use(&self.lock())
    }

    /// Notes that a run has started, or that its output is known again.
    pub(crate) fn started(&self, attempt: AttemptId, started: Started, live: bool) {
        if let Some(held) = self.lock().get_mut(&attempt) {
            held.started = Some(started);
            held.live = live;
        }
    }

    /// Notes that a process has ended.
    pub(crate) fn ended(&self, attempt: AttemptId) {
        if let Some(held) = self.lock().get_mut(&attempt) {
            held.live = false;
        }
    }

    /// Notes the report; says who is to hear of it.
    pub(crate) fn over(&self, report: RunReport) -> Told {
        let mut table = self.lock();
        let Some(held) = table.get_mut(&report.attempt) else { return Told::Nobody };
        if held.forgotten {
            let journal = table.remove(&report.attempt).and_then(|held| held.journal);
            return Told::Journal(journal);
        }
        held.live = false;
        held.report = Some(report.clone());
        Told::Controller(Event::Over(Box::new(report)))
    }

    /// Says what the controller wants. A run that is over and forgotten is dropped; its journal comes
    /// back then, to be marked.
    pub(crate) fn wish(&self, attempt: AttemptId, wish: Wish) -> Option<Journal> {
        let mut table = self.lock();
        let held = table.get_mut(&attempt)?;
        held.forgotten |= wish == Wish::Forget;
        held.wish.send_replace(wish);
        if held.forgotten && held.report.is_some() {
            return table.remove(&attempt)?.journal;
        }
        None
    }

    /// Drops a run that the controller has recorded; gives back where it is journaled.
    pub(crate) fn drop(&self, attempt: AttemptId) -> Option<Journal> {
        let mut table = self.lock();
        table.get(&attempt)?.report.as_ref()?;
        table.remove(&attempt)?.journal
    }

    /// Every run that is held.
    pub(crate) fn list(&self) -> Vec<HeldRun> {
        let held = |h: &Held| HeldRun {
            attempt: h.whose.attempt,
            fence: h.whose.fence,
            cluster: h.whose.cluster,
            volume: h.whose.volume,
            live: h.live,
        };
        self.lock().values().filter(|h| !h.forgotten).map(held).collect()
    }

    /// What a new session must hear.
    pub(crate) fn replay(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for held in self.lock().values().filter(|h| !h.forgotten) {
            events.extend(held.started.as_ref().map(|s| held.whose.started(s)));
            events.extend(held.report.clone().map(|report| Event::Over(Box::new(report))));
        }
        events
    }
}

impl Whose {
    /// The event that tells of the start.
    pub(crate) fn started(&self, started: &Started) -> Event {
        let (attempt, fence) = (self.attempt, self.fence);
        Event::Started { attempt, fence, at: started.at, output: started.output.clone() }
    }
}

/// What came of taking a run.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It is held; this tells what the controller wants of it.
    Held(watch::Receiver<Wish>),
    /// It was held before.
    AlreadyHeld,
    /// There is no room for it.
    NoSlot,
    /// Another run on its cluster has not ended.
    Busy,
}

/// Who is to hear of a report.
#[derive(Debug)]
pub(crate) enum Told {
    /// The controller.
    Controller(Event),
    /// Only the journal: the run was superseded.
    Journal(Option<Journal>),
    /// Nobody: the run is not held.
    Nobody,
}

fn in_use(held: &BTreeMap<AttemptId, Held>) -> u32 {
    u32::try_from(held.values().filter(|h| h.report.is_none()).count()).unwrap_or(u32::MAX)
}
