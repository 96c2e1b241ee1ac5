//! An engine that runs nothing and remembers everything.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cratekube_agent::port::{Engine, Event, OutputLength, OutputSource};
use cratekube_common::domain::agent::{AgentFacts, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AttemptId, VolumeId};
use cratekube_common::domain::inventory::ClusterOnVolume;
use cratekube_common::domain::query::{Answer, Query, QueryKind};
use cratekube_common::domain::run::{Assignment, HeldRun, RunOutcome, RunReport, RunVerdict};
use cratekube_common::domain::secret::Secret;
use cratekube_common::domain::time::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use uuid::Uuid;

use super::soon;

pub const FENCE: Fence = Fence(5);

pub fn attempt(n: u128) -> AttemptId {
    Uuid::from_u128(n).into()
}

#[derive(Default)]
struct Seen {
    runs: BTreeMap<AttemptId, Held>,
    assigned: Vec<Assignment>,
    verdicts: Vec<(AttemptId, RunVerdict)>,
    recorded: Vec<AttemptId>,
    looked_through: Vec<VolumeId>,
    again: Vec<AttemptId>,
}

struct Held {
    output: Option<OutputSource>,
    report: Option<RunReport>,
}

pub struct FakeEngine {
    seen: Mutex<Seen>,
    slots: AtomicU32,
    tell: mpsc::UnboundedSender<Event>,
    changed: Notify,
}

/// The output file of a run of the fake engine.
pub struct Output {
    pub source: OutputSource,
    file: std::fs::File,
    length: watch::Sender<OutputLength>,
}

impl Output {
    pub fn new(dir: &Path, attempt: AttemptId) -> Self {
        let path = dir.join(format!("{attempt}.log"));
        let file = std::fs::File::create(&path).unwrap();
        let (length, receiver) = watch::channel(OutputLength::default());
        Self { source: OutputSource { attempt, fence: FENCE, path, length: receiver }, file, length }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).unwrap();
        self.length.send_modify(|length| length.bytes += bytes.len() as u64);
    }

    pub fn complete(&mut self) -> u64 {
        self.length.send_modify(|length| length.complete = true);
        self.length.borrow().bytes
    }
}

impl FakeEngine {
    pub fn new(tell: mpsc::UnboundedSender<Event>) -> Arc<Self> {
        Arc::new(Self { seen: Mutex::default(), slots: AtomicU32::new(4), tell, changed: Notify::new() })
    }

    pub fn tell(&self, event: Event) {
        self.tell.send(event).unwrap();
    }

    /// Holds a run without output.
    pub fn hold(&self, attempt: AttemptId) {
        self.seen.lock().unwrap().runs.insert(attempt, Held { output: None, report: None });
    }

    /// Starts a run with output.
    pub fn start(&self, source: &OutputSource) {
        let held = Held { output: Some(source.clone()), report: None };
        self.seen.lock().unwrap().runs.insert(source.attempt, held);
        self.tell(started(source.clone()));
    }

    /// Ends a run.
    pub fn finish(&self, attempt: AttemptId, output_bytes: u64) {
        let report = report(attempt, output_bytes);
        self.seen.lock().unwrap().runs.get_mut(&attempt).unwrap().report = Some(report.clone());
        self.tell(Event::Over(Box::new(report)));
    }

    pub fn set_slots(&self, slots: u32) {
        self.slots.store(slots, Ordering::SeqCst);
        self.tell(Event::Slots);
    }

    pub fn assigned(&self) -> Vec<Assignment> {
        self.seen.lock().unwrap().assigned.clone()
    }

    pub fn verdicts(&self) -> Vec<(AttemptId, RunVerdict)> {
        self.seen.lock().unwrap().verdicts.clone()
    }

    pub fn recorded_runs(&self) -> Vec<AttemptId> {
        self.seen.lock().unwrap().recorded.clone()
    }

    /// Volumes that were looked through, and runs that are to be reported again.
    pub fn restored(&self) -> (Vec<VolumeId>, Vec<AttemptId>) {
        let seen = self.seen.lock().unwrap();
        (seen.looked_through.clone(), seen.again.clone())
    }

    /// Waits until something was asked of the engine that makes this true.
    pub async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        soon(what, async {
            loop {
                let changed = self.changed.notified();
                if reached(self) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_waiters();
    }
}

pub fn started(output: OutputSource) -> Event {
    Event::Started { attempt: output.attempt, fence: FENCE, at: Timestamp::from_millis(1), output }
}

pub fn report(attempt: AttemptId, output_bytes: u64) -> RunReport {
    RunReport {
        attempt,
        fence: FENCE,
        outcome: RunOutcome::Succeeded,
        exit: None,
        started_at: None,
        ended_at: Timestamp::from_millis(2),
        generation: None,
        rke: None,
        warnings: Vec::new(),
        output_bytes,
        findings: None,
    }
}

#[async_trait]
impl Engine for FakeEngine {
    async fn facts(&self) -> AgentFacts {
        AgentFacts {
            version: "0.1.0".into(),
            hostname: "bastion".into(),
            slots: 4,
            rke: None,
            kubernetes_versions: Vec::new(),
            volumes: self.volumes().await,
        }
    }

    async fn volumes(&self) -> Vec<VolumeStatus> {
        let id: VolumeId = Uuid::from_u128(3).into();
        vec![VolumeStatus {
            id,
            path: "/mnt/state".into(),
            free_bytes: 1,
            total_bytes: 2,
            fault: None,
            reserve_bytes: Some(1),
            scrub: None,
        }]
    }

    fn held_runs(&self) -> Vec<HeldRun> {
        let id = Uuid::from_u128(9);
        let held = |(attempt, run): (&AttemptId, &Held)| HeldRun {
            attempt: *attempt,
            fence: FENCE,
            cluster: id.into(),
            volume: id.into(),
            live: run.report.is_none(),
        };
        self.seen.lock().unwrap().runs.iter().map(held).collect()
    }

    fn free_slots(&self) -> u32 {
        self.slots.load(Ordering::SeqCst)
    }

    fn assign(&self, assignment: Assignment) {
        self.change(|seen| {
            seen.runs.insert(assignment.attempt, Held { output: None, report: None });
            seen.assigned.push(assignment);
        });
    }

    fn verdict(&self, attempt: AttemptId, verdict: RunVerdict) {
        self.change(|seen| {
            seen.verdicts.push((attempt, verdict));
            if verdict == RunVerdict::Forget {
                seen.runs.remove(&attempt);
            }
        });
    }

    fn recorded(&self, attempt: AttemptId) {
        self.change(|seen| {
            seen.runs.remove(&attempt);
            seen.recorded.push(attempt);
        });
    }

    fn answers(&self) -> Vec<QueryKind> {
        vec![QueryKind::Kubeconfig]
    }

    /// Says its input again; one about the cluster `silent` is never answered.
    async fn ask(&self, query: Query) -> Answer {
        if query.about.is_some_and(|about| about.name.as_str() == "silent") {
            std::future::pending::<()>().await;
        }
        Ok(Secret::new(query.input.to_string()))
    }

    fn replay(&self) -> Vec<Event> {
        let seen = self.seen.lock().unwrap();
        let events = seen.runs.values().flat_map(|run| {
            let over = run.report.clone().map(|report| Event::Over(Box::new(report)));
            run.output.clone().map(started).into_iter().chain(over)
        });
        events.collect()
    }

    async fn look_through(&self, volume: VolumeId) -> Result<Vec<ClusterOnVolume>, String> {
        self.seen.lock().unwrap().looked_through.push(volume);
        Ok(Vec::new())
    }

    async fn report_again(&self, attempts: Vec<AttemptId>) {
        self.seen.lock().unwrap().again.extend(attempts);
        self.changed.notify_waiters();
    }
}
