//! Work to agents and reports back: the conversation with connected agents, above the wire.
//!
//! Invariants: an agent is never sent more than it asked for; nothing is sent to it before its held
//! runs are reconciled; only its newest session speaks for it; a task is leased durably before it is
//! sent. Not here: what a message looks like (`grpc`), who is late ([`super::leases`]), what follows
//! from a report (`plan`, applied by the store).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::domain::agent::{Agent, AgentFacts, AgentState, VolumeStatus};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::id::{AgentId, AttemptId, SessionId, VolumeId};
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport, RunVerdict};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{clock::Clock, fault, mint::Mint};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::conversation::{Connected, Greeting, Heartbeat, Order};
use super::credit::{Credit, Taken};
use super::leases::Leases;
use super::presence::{Presence, Seen};
use super::spec_secrets::{SpecVault, VaultError, open_secrets};
use super::watch::Watch;
use crate::store::{Applied, ConnectAgent, HeartbeatFacts, LeaseTasks, LeasedTask, Settled, Store, StoreError};

/// Orders waiting for one agent at most; more means that nobody reads them.
const ORDERS: usize = 256;
/// After an agent declined an assignment it is offered nothing for this long: what made it decline
/// (a run that is still ending, a lock) takes longer than a round trip to pass.
const PAUSE_AFTER_DECLINE: Duration = Duration::from_secs(5);
/// Tasks leased in one transaction at most.
const BATCH: u32 = 32;

/// A line to a connected agent.
#[derive(Debug)]
struct Line {
    session: SessionId,
    credit: Credit,
    volumes: Vec<VolumeId>,
    environments: EnvironmentPattern,
    takes_work: bool,
    /// Nothing is offered before this point of the monotonic clock.
    not_before: Duration,
    /// Volumes that another agent's session served when this one connected.
    contested: Vec<VolumeId>,
    orders: mpsc::Sender<Order>,
    end: CancellationToken,
}

/// The conversation with agents.
#[derive(Debug)]
pub struct Dispatch {
    store: Arc<dyn Store>,
    watch: Watch,
    presence: Presence,
    leases: Leases,
    vault: Arc<dyn SpecVault>,
    clock: Clock,
    mint: Mint,
    lines: Mutex<HashMap<AgentId, Line>>,
}

impl Dispatch {
    /// A conversation with nobody yet.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        watch: Watch,
        presence: Presence,
        leases: Leases,
        vault: Arc<dyn SpecVault>,
        clock: Clock,
        mint: Mint,
    ) -> Self {
        Self { store, watch, presence, leases, vault, clock, mint, lines: Mutex::default() }
    }

    /// How long a lease lasts without renewal.
    #[must_use]
    pub fn lease_ttl(&self) -> Duration {
        self.leases.ttl()
    }

    /// Gives every attempt on record a full lease: called once, before agents can connect.
    ///
    /// # Errors
    /// From the store.
    pub async fn start(&self) -> Result<(), StoreError> {
        for (attempt, agent) in self.store.held_attempts().await? {
            self.leases.hold(agent, attempt);
        }
        Ok(())
    }

    /// An agent connects: reconciles what it holds and opens a session, ending an older one.
    ///
    /// # Errors
    /// From the store; nothing is changed then.
    pub async fn connect(&self, agent: &Agent, greeting: Greeting) -> Result<Connected, StoreError> {
        let now = self.clock.now();
        let of_others = self.presence.volumes_of_others(agent.id);
        if greeting.runs.iter().any(|run| of_others.contains(&run.volume)) {
            // The other session may be a dead one that was not noticed yet: nothing is decided now.
            let why = "a run of this agent is on a volume that another session serves";
            return Err(StoreError::Unavailable(why.into()));
        }
        let contested: Vec<_> = served(&greeting.facts.volumes).into_iter().filter(|v| of_others.contains(v)).collect();
        let request = ConnectAgent {
            agent: agent.id,
            facts: greeting.facts.clone(),
            runs: greeting.runs,
            contested: of_others,
            now,
        };
        let verdicts = self.store.connect_agent(request).await?;
        for (attempt, verdict) in &verdicts {
            if *verdict != RunVerdict::Forget {
                self.leases.hold(agent.id, *attempt);
            }
        }
        let session: SessionId = self.mint.id();
        let (sender, orders) = mpsc::channel(ORDERS);
        let end = CancellationToken::new();
        self.presence.arrive(agent.id, seen(session, now, &greeting.facts, greeting.agent_now, greeting.address));
        let line = Line {
            session,
            credit: Credit::default(),
            volumes: served(&greeting.facts.volumes),
            environments: agent.environments.clone(),
            takes_work: agent.state == AgentState::Active,
            not_before: Duration::ZERO,
            contested,
            orders: sender,
            end: end.clone(),
        };
        if let Some(older) = self.lines().insert(agent.id, line) {
            older.end.cancel();
        }
        // Runs that never started may have gone back to the queue.
        self.watch.announce_work();
        Ok(Connected { session, verdicts, orders, end })
    }

    /// A session is over.
    pub fn disconnect(&self, agent: AgentId, session: SessionId) {
        self.presence.leave(agent, session);
        let mut lines = self.lines();
        if lines.get(&agent).is_some_and(|line| line.session == session) {
            let freed = lines.remove(&agent).map(|line| line.volumes).unwrap_or_default();
            // Who wanted one of its volumes connects again and gets it.
            let wants = |line: &&Line| line.contested.iter().any(|volume| freed.contains(volume));
            lines.values().filter(wants).for_each(|line| line.end.cancel());
        }
    }

    /// The agent can take so many assignments now.
    pub async fn ready(&self, agent: AgentId, session: SessionId, slots: u32) {
        if let Some(line) = self.lines().get_mut(&agent).filter(|line| line.session == session) {
            line.credit.ready(slots);
        }
        self.presence.update(agent, session, |seen| seen.free_slots = slots);
        self.offer(agent).await;
    }

    /// A heartbeat: renews leases, answers what is not the agent's any more.
    ///
    /// # Errors
    /// From the store.
    pub async fn heartbeat(&self, agent: AgentId, session: SessionId, beat: Heartbeat) -> Result<(), StoreError> {
        let now = self.clock.now();
        let skew = beat.agent_now.as_millis() - now.as_millis();
        if let Some(line) = self.lines().get_mut(&agent).filter(|line| line.session == session) {
            line.volumes = served(&beat.volumes);
        }
        self.presence.update(agent, session, |seen| {
            seen.last_seen_at = now;
            seen.clock_skew_ms = skew;
            seen.volumes.clone_from(&beat.volumes);
            seen.load = beat.load;
        });
        let facts = HeartbeatFacts { seen_at: now, clock_skew_ms: skew, volumes: beat.volumes };
        self.store.note_heartbeat(agent, facts).await?;
        if beat.attempts.is_empty() {
            return Ok(());
        }
        let without_lease = self.leases.renew(agent, &beat.attempts);
        let mut verdicts = self.store.lease_verdicts(agent, beat.attempts).await?;
        let late = |(attempt, verdict): &(AttemptId, RunVerdict)| {
            *verdict != RunVerdict::Forget && without_lease.contains(attempt)
        };
        if verdicts.iter().any(late) {
            // The agent says anew what it holds, and is told.
            self.end(agent, session);
            return Ok(());
        }
        // One without a lease was settled while the heartbeat was on its way: the agent is told already.
        verdicts.retain(|(attempt, verdict)| *verdict != RunVerdict::Continue && !without_lease.contains(attempt));
        if !verdicts.is_empty() {
            self.order(agent, Order::Verdicts(verdicts));
        }
        Ok(())
    }

    /// A run is recorded on the volume and starts.
    ///
    /// # Errors
    /// From the store.
    pub async fn started(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let applied = self.store.start_attempt(agent, attempt, fence, at).await?;
        self.applied(agent, attempt, applied);
        Ok(())
    }

    /// How far a run is.
    ///
    /// # Errors
    /// From the store.
    pub async fn progress(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        progress: Progress,
    ) -> Result<(), StoreError> {
        let applied = self.store.record_progress(agent, attempt, fence, progress).await?;
        self.applied(agent, attempt, applied);
        Ok(())
    }

    /// An assignment was never started.
    ///
    /// # Errors
    /// From the store.
    pub async fn declined(
        &self,
        agent: AgentId,
        attempt: AttemptId,
        fence: Fence,
        reason: String,
    ) -> Result<(), StoreError> {
        tracing::warn!(%agent, %attempt, reason, "assignment declined");
        let applied = self.store.release_attempt(agent, attempt, fence, reason, self.clock.now()).await?;
        self.leases.release(attempt);
        self.applied(agent, attempt, applied);
        if let Some(line) = self.lines().get_mut(&agent) {
            line.not_before = self.clock.monotonic() + PAUSE_AFTER_DECLINE;
        }
        // Another agent may take it, if it is bound to none.
        self.watch.announce_work();
        Ok(())
    }

    /// A run is over.
    ///
    /// # Errors
    /// From the store; the agent sends the report again then.
    pub async fn report(&self, agent: AgentId, report: RunReport) -> Result<(), StoreError> {
        let (attempt, fence) = (report.attempt, report.fence);
        match self.store.settle_attempt(agent, report, self.clock.now()).await? {
            Settled::Now { operation, more_work } => {
                tracing::info!(%agent, %attempt, %operation, "run settled");
                self.leases.release(attempt);
                self.watch.announce(operation);
                if more_work {
                    self.watch.announce_work();
                }
                self.order(agent, Order::Recorded(attempt));
            }
            Settled::Already(_) => self.order(agent, Order::Recorded(attempt)),
            Settled::OutputMissing { stored } => {
                tracing::warn!(%agent, %attempt, stored, "report came before its output; waiting for the output");
            }
            Settled::Stale => {
                tracing::warn!(%agent, %attempt, %fence, "stale report kept as evidence, not applied");
                self.order(agent, Order::Verdicts(vec![(attempt, RunVerdict::Forget)]));
            }
        }
        Ok(())
    }

    /// Takes note of leases that ran out: their attempts' fate is unknown, their clusters stay locked.
    ///
    /// # Errors
    /// From the store.
    pub async fn lose_late(&self) -> Result<(), StoreError> {
        // Also looks for work that agents could not be offered when it was announced.
        self.watch.announce_work();
        let expired = self.leases.take_expired();
        if expired.is_empty() {
            return Ok(());
        }
        let attempts = expired.iter().map(|(attempt, _)| *attempt).collect();
        let lost = match self.store.lose_attempts(attempts, self.clock.now()).await {
            Ok(lost) => lost,
            Err(error) => {
                expired.iter().for_each(|(attempt, agent)| self.leases.hold(*agent, *attempt));
                return Err(error);
            }
        };
        let mut late = Vec::new();
        for (attempt, agent) in expired.into_iter().filter(|(attempt, _)| lost.contains(attempt)) {
            tracing::warn!(%attempt, %agent, "lease ran out; the run's fate is unknown and its cluster stays locked");
            late.push(agent);
        }
        self.lines().iter().filter(|(agent, _)| late.contains(agent)).for_each(|(_, line)| line.end.cancel());
        Ok(())
    }

    /// Offers work to every agent with room, each time some is announced, until told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.watch.work()).await.is_some() {
            for agent in self.with_room() {
                self.offer(agent).await;
            }
        }
    }

    fn with_room(&self) -> Vec<AgentId> {
        let mut lines = self.lines();
        lines.iter_mut().filter_map(|(agent, line)| line.credit.announced().then_some(*agent)).collect()
    }

    /// Leases what an agent can take and sends it.
    async fn offer(&self, agent: AgentId) {
        while let Some((request, session, taken)) = self.wish(agent) {
            let leased = self.store.lease_tasks(request).await.unwrap_or_else(|error| {
                tracing::error!(%agent, %error, "cannot lease tasks");
                Vec::new()
            });
            let count = u32::try_from(leased.len()).unwrap_or(u32::MAX);
            let line = |line: &mut Line| line.session == session && line.credit.settle(taken, count);
            let again = self.lines().get_mut(&agent).is_some_and(line);
            for task in leased {
                self.send(agent, session, task).await;
            }
            if !again {
                break;
            }
        }
    }

    /// Takes an agent's credit for one lease; nothing when it has none or takes no work.
    fn wish(&self, agent: AgentId) -> Option<(LeaseTasks, SessionId, Taken)> {
        let mut lines = self.lines();
        let now = self.clock.monotonic();
        let line = lines.get_mut(&agent).filter(|line| line.takes_work && now >= line.not_before)?;
        if line.volumes.is_empty() {
            return None;
        }
        let taken = line.credit.take(BATCH)?;
        let request = LeaseTasks {
            agent,
            attempts: (0..taken.slots).map(|_| self.mint.id()).collect(),
            volumes: line.volumes.clone(),
            environments: line.environments.clone(),
            now: self.clock.now(),
        };
        Some((request, line.session, taken))
    }

    /// Sends a leased task on the session that asked for it; gives it back when that is over.
    async fn send(&self, agent: AgentId, session: SessionId, task: LeasedTask) {
        fault::point("lease.granted");
        let LeasedTask { mut assignment, sealed_secrets } = task;
        let (attempt, fence, operation) = (assignment.attempt, assignment.fence, assignment.operation);
        if let Some(sealed) = sealed_secrets {
            match open_secrets(&*self.vault, assignment.cluster, &sealed) {
                Ok(secrets) => assignment.spec.put_secrets(secrets),
                Err(error) => return self.unreadable(agent, attempt, fence, error).await,
            }
        }
        tracing::info!(%agent, %attempt, %operation, kind = %assignment.kind, "task assigned");
        if self.assign(agent, session, assignment) {
            return self.watch.announce(operation);
        }
        let reason = "its session ended before it was sent".to_owned();
        let released = self.store.release_attempt(agent, attempt, fence, reason, self.clock.now()).await;
        if let Err(error) = released {
            // The agent does not hold it: its next hello releases it.
            tracing::error!(%attempt, %error, "cannot give back a task that was not sent");
        }
        self.watch.announce(operation);
        self.watch.announce_work();
    }

    /// Puts an assignment on a session; says whether it went out.
    fn assign(&self, agent: AgentId, session: SessionId, assignment: Assignment) -> bool {
        let lines = self.lines();
        let Some(line) = lines.get(&agent).filter(|line| line.session == session) else { return false };
        let attempt = assignment.attempt;
        self.leases.hold(agent, attempt);
        let sent = line.orders.try_send(Order::Assign(Box::new(assignment))).is_ok();
        if !sent {
            self.leases.release(attempt);
            line.end.cancel();
        }
        sent
    }

    /// A task whose secrets do not open cannot be done: it is settled as refused, with the remedy.
    async fn unreadable(&self, agent: AgentId, attempt: AttemptId, fence: Fence, error: VaultError) {
        let failure = Failure {
            class: FailureClass::Internal,
            message: format!("the cluster's secrets cannot be opened: {error}"),
            line: None,
            retryable: false,
            remedy: "Start the controller with the master key that sealed them.".into(),
        };
        let report = RunReport {
            attempt,
            fence,
            outcome: RunOutcome::Refused(failure),
            exit: None,
            started_at: None,
            ended_at: self.clock.now(),
            generation: None,
            rke: None,
            warnings: Vec::new(),
            output_bytes: 0,
        };
        if let Err(error) = self.report(agent, report).await {
            tracing::error!(%attempt, %error, "cannot settle a task whose secrets do not open");
        }
    }

    fn applied(&self, agent: AgentId, attempt: AttemptId, applied: Applied) {
        match applied {
            Applied::Done(operation) => self.watch.announce(operation),
            Applied::Stale => self.order(agent, Order::Verdicts(vec![(attempt, RunVerdict::Forget)])),
        }
    }

    /// Tells an agent something. One that does not read is cut off; it will reconnect and be told.
    fn order(&self, agent: AgentId, order: Order) {
        if let Some(line) = self.lines().get(&agent)
            && line.orders.try_send(order).is_err()
        {
            line.end.cancel();
        }
    }

    fn end(&self, agent: AgentId, session: SessionId) {
        if let Some(line) = self.lines().get(&agent).filter(|line| line.session == session) {
            line.end.cancel();
        }
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<AgentId, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn served(volumes: &[VolumeStatus]) -> Vec<VolumeId> {
    volumes.iter().filter(|volume| volume.fault.is_none()).map(|volume| volume.id).collect()
}

fn seen(session: SessionId, now: Timestamp, facts: &AgentFacts, agent_now: Timestamp, address: String) -> Seen {
    Seen {
        session,
        connected_at: now,
        last_seen_at: now,
        clock_skew_ms: agent_now.as_millis() - now.as_millis(),
        volumes: facts.volumes.clone(),
        free_slots: 0,
        load: 0.0,
        address,
    }
}
