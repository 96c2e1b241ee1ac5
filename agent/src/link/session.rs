//! One session: hello, welcome, then events up and assignments down, until something ends it.
//!
//! Order is what keeps runs safe: the verdicts on held runs are applied before anything is told again,
//! and everything is told again before the first slot is offered. Nothing that matters lives only in
//! here: when the connection breaks, the next session replays what the engine holds.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::{Assignment, RunVerdict};
use cratekube_common::domain::task::TaskKind;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::lifecycle::Shutdown;
use cratekube_common::runtime::notify;
use cratekube_proto::v1;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use v1::controller_message::Message;

use super::channel::Connection;
use super::outbox::{Handle, Order, outbox};
use super::questions::Questions;
use super::{lookthrough, messages, skew};
use crate::metrics::Metrics;
use crate::port::{Engine, Event};

/// Longest wait for the controller's answer to hello.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages that wait inside the connection; the rest waits here, where it can be counted.
const ON_THE_WIRE: usize = 16;
/// With more messages than this waiting, nothing new is taken from the engine.
const MOST_WAITING: usize = 256;
/// What a controller may ask for as heartbeat interval.
const HEARTBEAT_BOUNDS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(300));
/// Time to bring over what is there when the agent is asked to stop. Runs go on without it.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug)]
pub(super) enum Ended<R> {
    /// The agent was asked to stop.
    Stopped,
    /// The controller stops, or wants to be left.
    Dismissed,
    /// There is a new identity; go on with it.
    Renewed(R),
}

/// Why a session broke.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    /// A call failed.
    #[error("the session broke: {:?}: {}", .0.code(), .0.message())]
    Call(Status),
    /// The controller does not accept who we are.
    #[error("the controller refused this agent: {:?}: {}", .0.code(), .0.message())]
    Refused(Status),
    /// The output stream failed.
    #[error("the output stream broke: {:?}: {}", .0.code(), .0.message())]
    Output(Status),
    /// The stream ended without a word.
    #[error("the controller ended the session")]
    Silent,
    /// There was no welcome.
    #[error("the controller did not answer hello within {} s", WELCOME_TIMEOUT.as_secs())]
    NoWelcome,
    /// The first message was something else.
    #[error("the controller's first message is not a welcome")]
    NotWelcome,
}

/// What a session works with.
pub(super) struct Session<'a> {
    pub(super) engine: &'a Arc<dyn Engine>,
    pub(super) events: &'a mut mpsc::UnboundedReceiver<Event>,
    pub(super) connection: &'a Connection,
    pub(super) clock: &'a Clock,
    pub(super) shutdown: &'a Shutdown,
    /// Told when the controller wants the certificate renewed.
    pub(super) renew_now: &'a Notify,
    /// Where output is read from the volume.
    pub(super) blocking: Blocking,
    /// Counts what happens.
    pub(super) metrics: &'a Metrics,
}

impl Session<'_> {
    /// Holds a session until it ends; `renewed` is done when there is a new identity.
    pub(super) async fn hold<R>(self, renewed: impl Future<Output = R>) -> Result<Ended<R>, SessionError> {
        let (up, up_out) = mpsc::channel(ON_THE_WIRE);
        let hello = tokio::select! {
            biased;
            () = self.shutdown.soft.cancelled() => return Ok(Ended::Stopped),
            hello = messages::hello(self.engine.as_ref(), self.clock) => hello,
        };
        let _there_is_room = up.try_send(hello);
        let (mut down, welcome) = self.greet(ReceiverStream::new(up_out)).await?;
        if !welcome.look_through.is_empty() {
            return tokio::select! {
                biased;
                () = self.shutdown.soft.cancelled() => Ok(Ended::Stopped),
                told = lookthrough::tell(self.engine.as_ref(), &welcome.look_through, &up, &mut down) => {
                    told.map(|()| Ended::Dismissed).map_err(|status| self.broken(status))
                }
            };
        }
        let _in_session = self.metrics.in_session();
        let (handle, outbox) = outbox(self.blocking, self.metrics.clone());
        let interval = self.welcomed(&welcome);
        let (beats, mut beat) = mpsc::channel(1);
        let mut talk = Talk::new(self.engine, handle, self.renew_now, self.clock);
        talk.begin(welcome.verdicts, self.events);

        let output = outbox.run(self.connection);
        let heartbeats = beating(Arc::clone(self.engine), Arc::clone(self.clock), interval, beats);
        tokio::pin!(output, heartbeats, renewed);
        let mut deadline: Option<Instant> = None;
        loop {
            if deadline.is_some() && talk.is_quiet() {
                // What is on the wire already is still sent; then the stream ends.
                drop(up);
                self.farewell(&mut down, deadline).await;
                return Ok(Ended::Stopped);
            }
            tokio::select! {
                biased;
                () = self.shutdown.hard.cancelled() => return Ok(Ended::Stopped),
                () = self.shutdown.soft.cancelled(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + STOP_TIMEOUT);
                    talk.stop();
                }
                () = sleep_until(deadline), if deadline.is_some() => return Ok(Ended::Stopped),
                permit = up.reserve(), if !talk.waiting.is_empty() => match (permit, talk.waiting.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(message),
                    _ => return Err(SessionError::Silent),
                },
                message = down.message() => match message {
                    Ok(Some(message)) => if talk.heard(message) { return Ok(Ended::Dismissed) },
                    Ok(None) => return Err(SessionError::Silent),
                    Err(status) => return Err(self.broken(status)),
                },
                Some(event) = self.events.recv(), if talk.takes_more() => talk.tell(event),
                Some(report) = talk.outbox.released.recv(), if talk.takes_more() => talk.release(*report),
                Some(message) = beat.recv(), if talk.takes_more() => talk.waiting.push_back(message),
                Some(answer) = talk.questions.answered(), if talk.takes_more() => talk.waiting.push_back(answer),
                Ok(()) = talk.outbox.idle.changed(), if deadline.is_some() => {}
                status = &mut output => return Err(SessionError::Output(status)),
                () = &mut heartbeats => return Err(SessionError::Silent),
                renewed = &mut renewed, if deadline.is_none() => return Ok(Ended::Renewed(renewed)),
            }
        }
    }

    async fn greet(
        &self,
        up: ReceiverStream<v1::AgentMessage>,
    ) -> Result<(Streaming<v1::ControllerMessage>, v1::Welcome), SessionError> {
        let mut link = self.connection.link();
        let greeting = async {
            let mut down = link.session(up).await.map_err(|e| self.broken(e))?.into_inner();
            let first = down.message().await.map_err(|e| self.broken(e))?.ok_or(SessionError::Silent)?;
            match first.message {
                Some(Message::Welcome(welcome)) => Ok((down, welcome)),
                _ => Err(SessionError::NotWelcome),
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.soft.cancelled() => Err(SessionError::Silent),
            greeted = tokio::time::timeout(WELCOME_TIMEOUT, greeting) => {
                greeted.map_err(|_| SessionError::NoWelcome).flatten()
            }
        }
    }

    /// Takes note of a welcome; its heartbeat interval, within bounds.
    fn welcomed(&self, welcome: &v1::Welcome) -> Duration {
        let (ours, theirs) = (self.clock.now(), Timestamp::from_millis(welcome.now_ms));
        tracing::info!(
            session = %welcome.session,
            lease_ttl_ms = welcome.lease_ttl_ms,
            heartbeat_interval_ms = welcome.heartbeat_interval_ms,
            "in session with the controller"
        );
        notify::tell(notify::State::Status(&format!("online: in session {} since {ours}", welcome.session)));
        if let Some(skew_ms) = skew::worth_a_warning(ours, theirs) {
            tracing::warn!(here = %ours, controller = %theirs, skew_ms, "this host's clock and the controller's disagree");
        }
        let (least, most) = HEARTBEAT_BOUNDS;
        Duration::from_millis(welcome.heartbeat_interval_ms).clamp(least, most)
    }

    fn broken(&self, status: Status) -> SessionError {
        if self.connection.is_refusal(&status) { SessionError::Refused(status) } else { SessionError::Call(status) }
    }

    /// Waits until the controller has read to the end, so that the last messages are not cut off.
    async fn farewell(&self, down: &mut Streaming<v1::ControllerMessage>, deadline: Option<Instant>) {
        let read_on = async { while let Ok(Some(_)) = down.message().await {} };
        tokio::select! {
            biased;
            () = read_on => {}
            () = sleep_until(deadline) => {}
            () = self.shutdown.hard.cancelled() => {}
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Makes a heartbeat every interval; waits while the last one is not taken.
async fn beating(engine: Arc<dyn Engine>, clock: Clock, interval: Duration, beats: mpsc::Sender<v1::AgentMessage>) {
    loop {
        tokio::time::sleep(interval).await;
        let beat = messages::heartbeat(engine.as_ref(), &clock).await;
        if beats.send(beat).await.is_err() {
            return;
        }
    }
}

/// What has been said in a session and what is waiting to be said.
struct Talk<'a> {
    engine: &'a Arc<dyn Engine>,
    outbox: Handle,
    renew_now: &'a Notify,
    clock: &'a Clock,
    waiting: VecDeque<v1::AgentMessage>,
    /// Reports that are said and not yet recorded.
    unrecorded: HashSet<AttemptId>,
    /// Reports that the engine handed over in this session, so that none is said twice.
    reported: HashSet<AttemptId>,
    /// What the controller asked and was not answered yet.
    questions: Questions,
    stopping: bool,
}

impl<'a> Talk<'a> {
    fn new(engine: &'a Arc<dyn Engine>, outbox: Handle, renew_now: &'a Notify, clock: &'a Clock) -> Self {
        Self {
            engine,
            outbox,
            renew_now,
            clock,
            waiting: VecDeque::new(),
            unrecorded: HashSet::new(),
            reported: HashSet::new(),
            questions: Questions::default(),
            stopping: false,
        }
    }

    /// Applies the verdicts, tells again what the controller must hear, then offers slots.
    fn begin(&mut self, verdicts: Vec<v1::Verdict>, events: &mut mpsc::UnboundedReceiver<Event>) {
        self.judge(verdicts);
        // Taken before the replay, so that whatever is passed over here is in the replay.
        let left_over = left_over(events);
        for event in self.engine.replay().into_iter().chain(left_over) {
            self.say(event);
        }
        self.offer();
    }

    fn offer(&mut self) {
        let slots = if self.stopping { 0 } else { self.engine.free_slots() };
        self.waiting.push_back(messages::ready(slots));
    }

    fn stop(&mut self) {
        self.stopping = true;
        self.offer();
    }

    fn takes_more(&self) -> bool {
        self.waiting.len() < MOST_WAITING
    }

    /// True when everything that is there was said, stored and recorded.
    fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.unrecorded.is_empty() && self.outbox.is_idle()
    }

    /// Says what the engine wants to be known; offers anew what it did not make use of.
    fn tell(&mut self, event: Event) {
        let declined = matches!(event, Event::Declined { .. });
        self.say(event);
        if declined {
            self.offer_again();
        }
    }

    fn say(&mut self, event: Event) {
        match event {
            Event::Started { attempt, fence, at, output } => {
                self.waiting.push_back(messages::started(attempt, fence, at));
                self.outbox.order(Order::Stream(output));
            }
            Event::Progress { attempt, fence, progress } => {
                self.waiting.push_back(messages::progress(attempt, fence, progress));
            }
            Event::Over(report) => {
                if self.reported.insert(report.attempt) {
                    self.outbox.order(Order::Report(report));
                }
            }
            Event::Declined { attempt, fence, reason } => {
                self.waiting.push_back(messages::decline(attempt, fence, reason));
            }
            Event::Slots => self.offer(),
        }
    }

    /// A report's output is stored: now the report itself.
    fn release(&mut self, report: cratekube_common::domain::run::RunReport) {
        self.unrecorded.insert(report.attempt);
        self.waiting.push_back(messages::report(report));
    }

    /// Hears a message; true when it ends the session.
    fn heard(&mut self, message: v1::ControllerMessage) -> bool {
        match message.message {
            Some(Message::Assignment(assignment)) => self.assigned(assignment),
            Some(Message::ReportRecorded(recorded)) => self.recorded(&recorded.attempt),
            Some(Message::LeaseVerdicts(lease)) => self.judge(lease.verdicts),
            Some(Message::Query(query)) => self.waiting.extend(self.questions.ask(self.engine, query)),
            Some(Message::Cancel(cancel)) => self.cancelled(&cancel.attempt, Fence(cancel.fence)),
            Some(Message::RenewNow(_)) => self.renew_now.notify_one(),
            Some(Message::Shutdown(_)) => return true,
            Some(Message::Welcome(_)) => tracing::warn!("the controller said welcome twice"),
            Some(Message::ReportAgain(_)) => tracing::warn!("the controller wants runs again that it did not look for"),
            // A newer controller may say more than we know; what matters it says otherwise, too.
            None => tracing::debug!("the controller said something that this agent does not know"),
        }
        false
    }

    fn assigned(&mut self, wire: v1::Assignment) {
        let (attempt, fence) = (wire.attempt.parse::<AttemptId>(), Fence(wire.fence));
        let kind = wire.kind.clone();
        match (Assignment::try_from(wire), attempt) {
            (Ok(assignment), _) => self.accept(assignment),
            (Err(_), Ok(attempt)) if kind.parse::<TaskKind>().is_err() => self.decline_kind(attempt, fence, &kind),
            (Err(malformed), Ok(attempt)) => self.refuse(attempt, fence, &malformed.to_string()),
            (Err(malformed), Err(_)) => {
                tracing::warn!(%malformed, "an assignment cannot be read, nor whose it is");
                self.offer_again();
            }
        }
    }

    /// Declines what a newer agent may know: the task goes back to the queue and waits for one.
    fn decline_kind(&mut self, attempt: AttemptId, fence: Fence, kind: &str) {
        tracing::warn!(%attempt, %fence, kind, "an assignment is of a kind that this agent does not know");
        self.waiting.push_back(messages::unsupported(attempt, fence, kind));
        self.offer_again();
    }

    /// Refuses what cannot be read. A decline would have it come again, and again not be read.
    fn refuse(&mut self, attempt: AttemptId, fence: Fence, malformed: &str) {
        if self.holds(attempt) {
            return tracing::warn!(%attempt, malformed, "an assignment that is held already came again and cannot be read");
        }
        tracing::warn!(%attempt, %fence, malformed, "an assignment cannot be read and is refused");
        self.release(messages::refusal(attempt, fence, malformed, self.clock.now()));
        self.offer_again();
    }

    fn holds(&self, attempt: AttemptId) -> bool {
        self.engine.held_runs().iter().any(|run| run.attempt == attempt)
    }

    fn accept(&mut self, assignment: Assignment) {
        let (attempt, fence) = (assignment.attempt, assignment.fence);
        if self.holds(attempt) {
            tracing::debug!(%attempt, "the assignment is held already");
        } else if self.stopping {
            self.decline(attempt, fence, "the agent is stopping");
        } else if self.engine.free_slots() == 0 {
            self.decline(attempt, fence, "the agent has no free slot");
        } else {
            tracing::info!(%attempt, %fence, request_id = assignment.request_id, kind = %assignment.kind, cluster = %assignment.name,
                environment = %assignment.environment, "took an assignment");
            self.engine.assign(assignment);
        }
    }

    /// Declines an assignment, and offers anew: it has used up what was offered before.
    fn decline(&mut self, attempt: AttemptId, fence: Fence, reason: &str) {
        self.waiting.push_back(messages::decline(attempt, fence, reason));
        self.offer_again();
    }

    /// An agent that is stopping has said already that it takes nothing.
    fn offer_again(&mut self) {
        if !self.stopping {
            self.offer();
        }
    }

    fn recorded(&mut self, attempt: &str) {
        let Some(attempt) = named(attempt, "recorded a report of") else { return };
        self.unrecorded.remove(&attempt);
        self.outbox.order(Order::Forget(attempt));
        self.engine.recorded(attempt);
    }

    fn cancelled(&self, attempt: &str, fence: Fence) {
        let Some(attempt) = named(attempt, "cancelled") else { return };
        let held = self.engine.held_runs().into_iter().find(|run| run.attempt == attempt);
        match held {
            Some(run) if run.fence == fence => self.engine.verdict(attempt, RunVerdict::Cancel),
            Some(run) => tracing::warn!(%attempt, %fence, held = %run.fence, "a cancel carries another fence"),
            None => tracing::debug!(%attempt, "a cancel of a run that is not held"),
        }
    }

    fn judge(&mut self, verdicts: Vec<v1::Verdict>) {
        for verdict in verdicts {
            let Some(attempt) = named(&verdict.attempt, "judged") else { continue };
            match RunVerdict::try_from(verdict.kind()) {
                Ok(kind) => self.apply(attempt, kind),
                Err(malformed) => tracing::warn!(%attempt, %malformed, "a verdict cannot be understood"),
            }
        }
    }

    fn apply(&mut self, attempt: AttemptId, verdict: RunVerdict) {
        if verdict == RunVerdict::Forget {
            tracing::warn!(%attempt, at = %self.clock.now(), "the controller settled this run without us; it is kept as evidence");
            self.unrecorded.remove(&attempt);
            self.outbox.order(Order::Forget(attempt));
        }
        self.engine.verdict(attempt, verdict);
    }
}

fn named(attempt: &str, what: &str) -> Option<AttemptId> {
    let parsed = attempt.parse();
    parsed.map_err(|error| tracing::warn!(%error, "the controller {what} a run without a name")).ok()
}

/// What is left from between two sessions and is not in a replay: refusals, and the last word on each
/// run's progress.
fn left_over(events: &mut mpsc::UnboundedReceiver<Event>) -> Vec<Event> {
    let (mut declined, mut progress) = (Vec::new(), BTreeMap::new());
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Declined { .. } => declined.push(event),
            Event::Progress { attempt, .. } => {
                progress.insert(attempt, event);
            }
            Event::Started { .. } | Event::Over(_) | Event::Slots => {}
        }
    }
    declined.extend(progress.into_values());
    declined
}
