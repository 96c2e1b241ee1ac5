//! Sessions: hello, verdicts, replay, slots; then assignments, cancels, heartbeats; then the end.

use std::time::Duration;

use cratekube_agent::port::Event;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport, RunVerdict, TaskInput};
use cratekube_common::domain::task::TaskKind;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use cratekube_proto::v1::{self, VerdictKind};
use serde_json::json;
use tonic::Status;
use uuid::Uuid;

use crate::support::controller::Options;
use crate::support::engine::{FENCE, Output, attempt};
use crate::support::{World, soon};

fn verdict(attempt: AttemptId, kind: VerdictKind) -> v1::Verdict {
    v1::Verdict { attempt: attempt.to_string(), kind: kind.into() }
}

fn assignment(attempt: AttemptId) -> v1::Assignment {
    let spec = json!({
        "kubernetes_version": "v1.30.14-rancher1-1",
        "nodes": [{"address": "10.0.0.11", "roles": ["controlplane", "etcd", "worker"]}],
    });
    let id = Uuid::from_u128(9);
    let assignment = Assignment {
        attempt,
        fence: FENCE,
        task: id.into(),
        kind: TaskKind::Provision,
        operation: id.into(),
        request_id: "r-1".into(),
        cluster: id.into(),
        environment: "prod".parse().unwrap(),
        name: "one".parse().unwrap(),
        volume: id.into(),
        spec: intake::read(&spec).unwrap().0,
        known: None,
        recovery: None,
        input: TaskInput::default(),
    };
    assignment.into()
}

#[tokio::test]
async fn verdicts_come_before_the_replay_and_the_replay_before_the_slots() {
    let mut world =
        World::with(Options { sockets: true, ..Options::default() }, cratekube_common::runtime::clock::system()).await;
    let output = Output::new(world.dir.path(), attempt(1));
    world.engine.start(&output.source);
    world.engine.hold(attempt(2));
    let mut session = world.controller.session().await;
    let facts = session.hello.facts.clone().unwrap();
    assert_eq!((facts.hostname.as_str(), facts.slots, facts.volumes.len()), ("bastion", 4, 1));

    session.welcome(vec![verdict(attempt(1), VerdictKind::Continue), verdict(attempt(2), VerdictKind::Forget)]).await;
    assert!(matches!(session.heard().await, Up::Started(started) if started.attempt == attempt(1).to_string()));
    assert!(matches!(session.heard().await, Up::Ready(v1::Ready { slots: 4 })));
    let expected = [(attempt(1), RunVerdict::Continue), (attempt(2), RunVerdict::Forget)];
    assert_eq!(world.engine.verdicts(), expected);
}

#[tokio::test]
async fn an_assignment_is_handed_over_once_and_slots_are_said_again() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    assert_eq!(session.ready().await, 4);
    session.send(Down::Assignment(assignment(attempt(1)))).await;
    session.send(Down::Assignment(assignment(attempt(1)))).await;
    session.send(Down::Assignment(assignment(attempt(2)))).await;
    world.engine.until("two assignments", |engine| engine.assigned().len() >= 2).await;
    let names: Vec<_> = world.engine.assigned().iter().map(|a| a.attempt).collect();
    assert_eq!(names, [attempt(1), attempt(2)], "a held attempt is not taken twice");
    world.engine.set_slots(2);
    assert_eq!(session.ready().await, 2);
}

#[tokio::test]
async fn hostile_row_52_what_cannot_be_executed_is_refused_or_declined_and_costs_no_credit() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    session.ready().await;
    let broken = [
        (v1::Assignment { spec_json: "{\"nodes\": 1}".into(), ..assignment(attempt(2)) }, "spec_json"),
        (v1::Assignment { environment: "../etc".into(), ..assignment(attempt(3)) }, "environment"),
    ];
    for (assignment, reason) in broken {
        let expected = assignment.attempt.clone();
        session.send(Down::Assignment(assignment)).await;
        let refused = RunReport::try_from(session.report().await).unwrap();
        assert_eq!((refused.attempt.to_string(), refused.fence), (expected, FENCE));
        let RunOutcome::Refused(failure) = refused.outcome else { panic!("not refused: {:?}", refused.outcome) };
        assert_eq!(failure.class, FailureClass::Internal);
        assert!(failure.message.contains(reason) && failure.remedy.contains("versions match"), "{failure:?}");
        assert_eq!(session.ready().await, 4, "what was offered is offered again");
    }
    // Another release of the agent may know it: the task is not lost.
    session.send(Down::Assignment(v1::Assignment { kind: "transmogrify".into(), ..assignment(attempt(1)) })).await;
    let declined = session.decline().await;
    assert!(declined.unsupported && declined.reason.contains("\"transmogrify\""), "{declined:?}");
    assert_eq!(session.ready().await, 4);
    // What cannot even be named is passed over, and the session goes on.
    session.send(Down::Assignment(v1::Assignment { attempt: "?".into(), ..assignment(attempt(4)) })).await;
    assert_eq!(session.ready().await, 4);
    world.engine.tell(Event::Declined { attempt: attempt(6), fence: FENCE, reason: "another run".into() });
    assert!(session.decline().await.reason.contains("another run"));
    assert_eq!(session.ready().await, 4);
    world.engine.set_slots(0);
    assert_eq!(session.ready().await, 0);
    session.send(Down::Assignment(assignment(attempt(5)))).await;
    assert!(session.decline().await.reason.contains("no free slot"));
    assert_eq!(session.ready().await, 0);
    assert!(world.engine.assigned().is_empty());
}

#[tokio::test]
async fn cancels_and_verdicts_reach_the_engine_unless_their_fence_is_another() {
    let mut world = World::new().await;
    world.engine.hold(attempt(1));
    world.engine.hold(attempt(2));
    let mut session = world.session().await;
    session.ready().await;
    let cancel = |fence| Down::Cancel(v1::Cancel { attempt: attempt(1).to_string(), fence });
    session.send(cancel(FENCE.0 - 1)).await;
    session.send(Down::Cancel(v1::Cancel { attempt: "?".into(), fence: 1 })).await;
    session.send(cancel(FENCE.0)).await;
    let verdicts = vec![verdict(attempt(2), VerdictKind::Forget), verdict(attempt(2), VerdictKind::Unspecified)];
    session.send(Down::LeaseVerdicts(v1::LeaseVerdicts { verdicts, now_ms: 0 })).await;
    world.engine.until("two verdicts", |engine| engine.verdicts().len() >= 2).await;
    assert_eq!(world.engine.verdicts(), [(attempt(1), RunVerdict::Cancel), (attempt(2), RunVerdict::Forget)]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_carry_volumes_held_attempts_and_our_time() {
    let mut world = World::new().await;
    world.engine.hold(attempt(1));
    let mut session = world.session().await;
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        let beat = session.heartbeat().await;
        assert_eq!(beat.attempts, [attempt(1).to_string()]);
        assert!(beat.volumes.len() == 1 && beat.now_ms > 0);
    }
    assert_eq!(began.elapsed().as_secs(), 30, "one every interval that the welcome named");
}

#[tokio::test(start_paused = true)]
async fn events_between_two_sessions_are_not_lost() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    session.ready().await;
    session.send(Down::Shutdown(v1::Shutdown {})).await;
    assert!(session.next().await.is_none(), "the agent leaves when the controller stops");
    let progress = |step| Event::Progress {
        attempt: attempt(1),
        fence: FENCE,
        progress: Progress { phase: "p".into(), step, steps: 3 },
    };
    world.engine.tell(progress(1));
    world.engine.tell(Event::Declined { attempt: attempt(2), fence: FENCE, reason: "no".into() });
    world.engine.tell(progress(2));
    let mut session = world.session().await;
    assert!(matches!(session.heard().await, Up::Decline(_)));
    assert!(matches!(session.heard().await, Up::Progress(p) if p.step == 2), "only the last word on progress");
    assert!(matches!(session.heard().await, Up::Ready(_)));
}

/// GOAWAY, a broken session and a cut network are ordinary: the agent comes back, each time.
#[tokio::test(start_paused = true)]
async fn hostile_row_76_every_kind_of_break_is_followed_by_another_session() {
    let mut world = World::new().await;
    world.engine.hold(attempt(1));
    for round in 0..12 {
        let mut session = world.session().await;
        assert_eq!(session.hello.runs.len(), 1, "what is held is told in every session");
        session.ready().await;
        match round % 4 {
            0 => session.send(Down::Shutdown(v1::Shutdown {})).await,
            1 => session.fail(Status::unavailable("going away")).await,
            2 => drop(session),
            _ => world.controller.memory.as_ref().unwrap().cut(),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_row_76_delays_grow_up_to_the_cap_and_start_over_after_a_good_session() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    session.ready().await;
    let mut longest = Duration::ZERO;
    for _ in 0..12 {
        let began = tokio::time::Instant::now();
        session.fail(Status::unavailable("again")).await;
        session = world.session().await;
        longest = longest.max(began.elapsed());
    }
    assert!(longest > Duration::from_secs(2), "delays grow: {longest:?}");
    assert!(longest <= Duration::from_secs(31), "and are capped: {longest:?}");
    tokio::time::sleep(Duration::from_secs(31)).await;
    let began = tokio::time::Instant::now();
    session.fail(Status::unavailable("once more")).await;
    world.session().await;
    assert!(began.elapsed() < Duration::from_millis(600), "a good session resets them: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn hostile_row_36_a_revoked_agent_keeps_trying_but_slowly() {
    let mut world = World::new().await;
    let session = world.session().await;
    world.controller.state.refused.lock().unwrap().insert(session.certificate.clone());
    let before = world.controller.memory.as_ref().unwrap().dialled();
    session.fail(Status::permission_denied("revoked")).await;
    assert!(world.controller.session_within(Duration::from_secs(300)).await.is_none());
    let tries = world.controller.memory.as_ref().unwrap().dialled() - before;
    assert!((10..=20).contains(&tries), "one try in 15 to 30 seconds, not {tries} in five minutes");
    world.controller.state.refused.lock().unwrap().clear();
    soon("the agent is welcome again", world.session()).await;
}

#[tokio::test(start_paused = true)]
async fn no_welcome_is_not_waited_for_forever() {
    let mut world = World::new().await;
    let _silent = world.controller.session().await;
    soon("another session", world.session()).await;
}

#[tokio::test(start_paused = true)]
async fn a_soft_shutdown_takes_nothing_new_brings_over_what_is_there_and_leaves() {
    let mut world = World::new().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    let mut session = world.session().await;
    session.ready().await;
    world.controller.state.acks.send_replace(false);
    world.engine.start(&output.source);
    output.write(b"last words");
    session.until(|m| matches!(m, Up::Started(_)).then_some(())).await;
    soon("the bytes arrive", async {
        while world.controller.output(attempt(1)).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    world.shutdown.escalate();
    assert_eq!(session.ready().await, 0, "no credit any more");
    session.send(Down::Assignment(assignment(attempt(9)))).await;
    assert!(session.decline().await.reason.contains("stopping"));
    assert!(!world.link.is_finished(), "output is on its way");
    world.controller.state.acks.send_replace(true);
    assert!(session.next().await.is_none(), "the agent has left");
    soon("the link ends", &mut world.link).await.unwrap();
    assert_eq!(world.controller.output(attempt(1)), b"last words");
    assert!(world.engine.assigned().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_soft_shutdown_waits_five_seconds_and_a_hard_one_not_at_all() {
    for hard in [false, true] {
        let mut world = World::new().await;
        let mut output = Output::new(world.dir.path(), attempt(1));
        let mut session = world.session().await;
        session.ready().await;
        world.controller.state.acks.send_replace(false);
        output.write(b"never acknowledged");
        world.engine.start(&output.source);
        session.until(|m| matches!(m, Up::Started(_)).then_some(())).await;
        let began = tokio::time::Instant::now();
        world.shutdown.escalate();
        if hard {
            world.shutdown.escalate();
        }
        soon("the link ends", &mut world.link).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), if hard { 0 } else { 5 });
    }
}

#[tokio::test]
async fn a_controller_that_was_restored_is_told_what_the_volumes_know_and_nothing_else_before() {
    let mut world = World::new().await;
    world.engine.hold(attempt(1));
    let mut session = world.controller.session().await;
    let volume = Uuid::from_u128(7);
    session.welcome_to(Vec::new(), vec![volume.to_string()]).await;
    let Up::Inventory(inventory) = session.heard().await else { panic!("it says something else") };
    assert!(inventory.complete && inventory.fault.is_empty() && inventory.volume == volume.to_string());
    session.send(Down::ReportAgain(v1::ReportAgain { attempts: vec![attempt(3).to_string()] })).await;
    session.send(Down::Shutdown(v1::Shutdown {})).await;
    assert!(session.next().await.is_none(), "nothing more is said");
    assert_eq!(world.engine.restored(), (vec![volume.into()], vec![attempt(3)]));
    let mut next = world.session().await;
    assert_eq!(next.ready().await, 4, "then it is met as ever");
}
