//! One agent's live connection: messages in, orders out, in one task.

use std::time::Duration;

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AttemptId, SessionId};
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::{HeldRun, RunVerdict};
use cratekube_common::redact;
use cratekube_proto::convert::{agent::volumes, parse, present, query, time};
use cratekube_proto::status::Refusal;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::peer::{self, Caller};
use super::{GrpcState, foreign, lookthrough, sizes, store_status};
use crate::edge::bucket::Rate;
use crate::service::conversation::{Connected, Declined, Greeting, Heartbeat, Order, Unheard};

/// The first message must come within this time.
const HELLO: Duration = Duration::from_secs(10);
/// More runs than an agent can hold.
const MAX_RUNS: usize = 10_000;
/// Longest wait for an agent to take the reason for its session's end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Longest wait for an agent to take a message; its heartbeats wait behind it.
const PATIENCE: Duration = Duration::from_secs(30);
/// What an agent may say: far more than one with every slot in use has to say, and what it says anew
/// when it connects comes at once.
const MESSAGES: Rate = Rate { every: Duration::from_millis(5), burst: 10_000 };
/// Agents are asked to renew no faster than this: each costs a key, two writes and a new connection.
const RENEWAL_EVERY: Duration = Duration::from_millis(20);
/// Messages on their way to one agent.
const OUTBOUND: usize = 64;

pub(super) type Outbound = mpsc::Sender<Result<v1::ControllerMessage, Status>>;

/// Opens a session; what the agent is told comes out of the stream.
pub fn open(
    state: GrpcState,
    caller: Caller,
    inbound: Streaming<v1::AgentMessage>,
) -> ReceiverStream<Result<v1::ControllerMessage, Status>> {
    let (outbound, stream) = mpsc::channel(OUTBOUND);
    tokio::spawn(async move {
        let agent = caller.agent.id;
        if let Err(status) = converse(&state, &caller, inbound, &outbound).await {
            tracing::info!(%agent, code = ?status.code(), message = status.message(), "session ended");
            // One that reads nothing does not keep us here.
            let _peer_may_be_gone = outbound.send_timeout(Err(status), FAREWELL).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn converse(
    state: &GrpcState,
    caller: &Caller,
    mut inbound: Streaming<v1::AgentMessage>,
    outbound: &Outbound,
) -> Result<(), Status> {
    let first = tokio::time::timeout(HELLO, inbound.next()).await;
    let first = first.map_err(|_| Refusal::Malformed.status("no hello within 10 s"))?;
    let hello = match first.transpose().map_err(sizes::of_stream)?.and_then(|message| message.message) {
        Some(Up::Hello(hello)) => hello,
        _ => return Err(Refusal::Malformed.status("the first message must be hello")),
    };
    let greeting = greeting(hello, caller.address.clone())?;
    tracing::info!(
        agent = %caller.agent.id, name = %caller.agent.name, address = caller.address,
        version = greeting.facts.version, runs = greeting.runs.len(), "agent connected"
    );
    let volumes = state.dispatch.to_look_through(caller.agent.id, &greeting).await.map_err(|e| store_status(&e))?;
    if !volumes.is_empty() {
        return lookthrough::converse(state, caller, inbound, outbound, (&greeting, volumes)).await;
    }
    let connected = state.dispatch.connect(&caller.agent, greeting).await.map_err(|e| store_status(&e))?;
    let session = connected.session;
    let ended = serve(state, caller, inbound, outbound, connected).await;
    state.dispatch.disconnect(caller.agent.id, session).await;
    ended
}

async fn serve(
    state: &GrpcState,
    caller: &Caller,
    mut inbound: Streaming<v1::AgentMessage>,
    outbound: &Outbound,
    mut connected: Connected,
) -> Result<(), Status> {
    let welcome = v1::Welcome {
        session: connected.session.to_string(),
        lease_ttl_ms: millis(state.dispatch.lease_ttl()),
        heartbeat_interval_ms: millis(state.heartbeat_interval),
        now_ms: state.clock.now().as_millis(),
        verdicts: verdicts(&connected.verdicts),
        look_through: Vec::new(),
    };
    tell(outbound, Down::Welcome(welcome)).await?;
    let mut renewal = RenewalAsked::default();
    renewal.ask(state, caller, outbound).await?;
    let (ousted, mut full_at) = (peer::ousted(state, caller), Duration::ZERO);
    tokio::pin!(ousted);
    loop {
        tokio::select! {
            biased;
            // What is to be told goes out before the session ends.
            order = connected.orders.recv() => match order {
                Some(order) => tell(outbound, down(state, order)).await?,
                None => return Ok(()),
            },
            () = connected.end.cancelled() => {
                return Err(Refusal::Unavailable.status("the session is superseded or late; connect again"));
            }
            status = &mut ousted => return Err(status),
            () = state.shutdown.soft.cancelled() => return tell(outbound, Down::Shutdown(v1::Shutdown {})).await,
            // The connection has its age: the agent comes again on a new one.
            () = caller.retire.cancelled() => return tell(outbound, Down::Shutdown(v1::Shutdown {})).await,
            message = inbound.next() => match message.transpose().map_err(sizes::of_stream)? {
                Some(message) => {
                    let paced = MESSAGES.take(full_at, state.clock.monotonic());
                    full_at = paced.map_err(|_| Refusal::Exhausted.status("too many messages in too short a time"))?;
                    renewal.ask(state, caller, outbound).await?;
                    hear(state, caller, connected.session, message).await?;
                }
                None => return Ok(()),
            },
        }
    }
}

/// Whether a session's agent was asked to renew, and when the authority was what.
#[derive(Debug, Default)]
struct RenewalAsked {
    /// What it is to get.
    wanted: String,
    /// When to ask it, by the monotonic clock; none once it was asked.
    due: Option<Duration>,
}

impl RenewalAsked {
    /// Asks it when its certificate is not what it would get now; once for each phase of a rotation, and so that a
    /// fleet does not renew at one moment.
    async fn ask(&mut self, state: &GrpcState, caller: &Caller, outbound: &Outbound) -> Result<(), Status> {
        if !caller.is_outdated(&state.authority) {
            return Ok(());
        }
        let (wanted, now) = (state.authority.current(), state.clock.monotonic());
        if self.wanted != wanted {
            self.wanted = wanted;
            let spread = spread(state.dispatch.connected(), state.heartbeat_interval);
            self.due = Some(now + spread.mul_f64(state.mint.chance()));
        }
        if self.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        self.due = None;
        tracing::info!(agent = %caller.agent.id, "the agent's certificate is not what is made now; it is to renew");
        tell(outbound, Down::RenewNow(v1::RenewNow {})).await
    }
}

/// Over how long a fleet is asked. Within a heartbeat each agent speaks once, in its own time: that is spread enough
/// for a small one.
fn spread(agents: usize, heartbeat: Duration) -> Duration {
    let whole = RENEWAL_EVERY.saturating_mul(u32::try_from(agents).unwrap_or(u32::MAX));
    whole.saturating_sub(heartbeat)
}

async fn hear(state: &GrpcState, caller: &Caller, session: SessionId, message: v1::AgentMessage) -> Result<(), Status> {
    let (agent, dispatch) = (caller.agent.id, &state.dispatch);
    let Some(message) = message.message else {
        // A newer agent may say more than we know; what matters it says otherwise, too.
        tracing::debug!(%agent, "the agent said something that this controller does not know");
        return Ok(());
    };
    let done = match message {
        Up::Hello(_) => return Err(Refusal::Malformed.status("hello comes once")),
        Up::Inventory(_) => return Err(Refusal::Malformed.status("no volume was asked for")),
        Up::Ready(ready) => {
            dispatch.ready(agent, session, ready.slots).await;
            Ok(())
        }
        Up::Heartbeat(beat) => dispatch.heartbeat(agent, session, heartbeat(beat)?).await.map_err(Unheard::from),
        Up::Started(run) => {
            let attempt = parse("attempt", &run.attempt)?;
            dispatch.started(agent, attempt, Fence(run.fence), time(run.started_ms)).await
        }
        Up::Progress(run) => {
            let progress = Progress { phase: phase(run.phase)?, step: run.step, steps: run.steps };
            dispatch.progress(agent, parse("attempt", &run.attempt)?, Fence(run.fence), progress).await
        }
        // An agent may be old, or not what it says.
        Up::Report(report) => dispatch.report(agent, redact::report(report.try_into()?)).await,
        Up::Answer(answer) => {
            let (id, answer) = query::read_answer(answer)?;
            dispatch.answered(agent, session, id, answer);
            Ok(())
        }
        Up::Decline(run) => {
            let reason = redact::text(&run.reason.chars().take(1_000).collect::<String>());
            let declined = Declined {
                attempt: parse("attempt", &run.attempt)?,
                fence: Fence(run.fence),
                reason,
                unsupported: run.unsupported,
            };
            dispatch.declined(agent, declined).await
        }
    };
    match done {
        Ok(()) => Ok(()),
        Err(why) => Err(foreign::unheard(state, caller, why).await),
    }
}

fn down(state: &GrpcState, order: Order) -> Down {
    match order {
        Order::Assign(assignment) => Down::Assignment((*assignment).into()),
        Order::Ask(query) => Down::Query((*query).into()),
        Order::Recorded(attempt) => Down::ReportRecorded(v1::ReportRecorded { attempt: attempt.to_string() }),
        Order::Verdicts(list) => {
            let now_ms = state.clock.now().as_millis();
            Down::LeaseVerdicts(v1::LeaseVerdicts { verdicts: verdicts(&list), now_ms })
        }
    }
}

pub(super) async fn tell(outbound: &Outbound, message: Down) -> Result<(), Status> {
    let message = v1::ControllerMessage { message: Some(message) };
    let gone = |_| Refusal::Unavailable.status("the agent is gone, or does not read");
    outbound.send_timeout(Ok(message), PATIENCE).await.map_err(gone)
}

fn greeting(hello: v1::Hello, address: String) -> Result<Greeting, Status> {
    if hello.runs.len() > MAX_RUNS {
        return Err(Refusal::Exhausted.status("too many runs"));
    }
    let runs = hello.runs.into_iter().map(TryInto::try_into).collect::<Result<Vec<HeldRun>, _>>()?;
    let facts = present("facts", hello.facts)?.try_into()?;
    Ok(Greeting { facts, runs, agent_now: time(hello.now_ms), address, answers: query::kinds(&hello.answers)? })
}

fn heartbeat(beat: v1::Heartbeat) -> Result<Heartbeat, Status> {
    if beat.attempts.len() > MAX_RUNS {
        return Err(Refusal::Exhausted.status("too many attempts"));
    }
    let attempts = beat.attempts.iter().map(|id| parse("attempts", id)).collect::<Result<_, _>>()?;
    let load = if beat.load.is_finite() { beat.load } else { 0.0 };
    Ok(Heartbeat { agent_now: time(beat.now_ms), volumes: volumes(beat.volumes)?, attempts, load })
}

fn phase(text: String) -> Result<String, Status> {
    if text.len() <= 200 && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Refusal::Malformed.status("phase is too long or has control characters"))
}

fn verdicts(list: &[(AttemptId, RunVerdict)]) -> Vec<v1::Verdict> {
    let wire = |(attempt, verdict): &(AttemptId, RunVerdict)| v1::Verdict {
        attempt: attempt.to_string(),
        kind: v1::VerdictKind::from(*verdict).into(),
    };
    list.iter().map(wire).collect()
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_fleet_renews_within_a_heartbeat_and_a_large_one_takes_its_time() {
        let heartbeat = Duration::from_secs(15);
        assert_eq!(spread(1, heartbeat), Duration::ZERO);
        assert_eq!(spread(750, heartbeat), Duration::ZERO);
        assert_eq!(spread(10_000, heartbeat), Duration::from_secs(185));
    }
}
