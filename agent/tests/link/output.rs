//! Output arrives whole and once, and a report only after it.

use std::time::Duration;

use cratekube_common::domain::id::AttemptId;
use cratekube_common::runtime::clock;
use cratekube_proto::MAX_CHUNK_BYTES;
use cratekube_proto::v1::controller_message::Message as Down;
use cratekube_proto::v1::{self};

use crate::support::controller::{Options, TestSession};
use crate::support::engine::{Output, attempt};
use crate::support::{World, soon};

/// Bytes that differ at every place, so that a shifted copy is found.
fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

async fn record(world: &World, session: &TestSession, attempt: AttemptId) {
    session.send(Down::ReportRecorded(v1::ReportRecorded { attempt: attempt.to_string() })).await;
    world.engine.until("recorded", |engine| engine.recorded_runs().contains(&attempt)).await;
}

#[tokio::test]
async fn a_report_leaves_only_when_every_byte_is_stored() {
    let mut world = World::with(Options { sockets: true, ..Options::default() }, clock::system()).await;
    let mut session = world.session().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    let bytes = noise(3 * MAX_CHUNK_BYTES + 17);
    world.engine.start(&output.source);
    output.write(&bytes);
    let length = output.complete();
    world.engine.finish(attempt(1), length);
    let report = session.report().await;
    assert_eq!(report.output_bytes, bytes.len() as u64);
    assert_eq!(world.controller.output(attempt(1)), bytes);
    record(&world, &session, attempt(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_report_waits_while_its_output_is_not_acknowledged() {
    let mut world = World::new().await;
    world.controller.state.acks.send_replace(false);
    let mut session = world.session().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    output.write(b"all of it");
    let length = output.complete();
    world.engine.start(&output.source);
    world.engine.finish(attempt(1), length);
    for _ in 0..6 {
        // Heartbeats only: `report` would find it otherwise.
        session.heartbeat().await;
    }
    assert_eq!(world.controller.output(attempt(1)), b"all of it");
    world.controller.state.acks.send_replace(true);
    session.report().await;
}

#[tokio::test(start_paused = true)]
async fn a_run_without_output_is_reported_at_once() {
    let mut world = World::new().await;
    world.engine.hold(attempt(1));
    let mut session = world.session().await;
    session.ready().await;
    world.engine.finish(attempt(1), 0);
    assert_eq!(session.report().await.attempt, attempt(1).to_string());
    record(&world, &session, attempt(1)).await;
}

#[tokio::test(start_paused = true)]
async fn growing_output_is_followed_line_by_line_and_the_last_line_included() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    world.engine.start(&output.source);
    let mut expected = Vec::new();
    for n in 0..200 {
        let line = format!("line {n}\n");
        output.write(line.as_bytes());
        expected.extend_from_slice(line.as_bytes());
        tokio::task::yield_now().await;
    }
    soon("all lines arrive while the run goes on", async {
        while world.controller.output(attempt(1)) != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    output.write(b"end");
    expected.extend_from_slice(b"end");
    let length = output.complete();
    world.engine.finish(attempt(1), length);
    session.report().await;
    assert_eq!(world.controller.output(attempt(1)), expected);
}

/// Three breaks in the middle; `Scripted::store` notes every gap and every duplicate.
#[tokio::test(start_paused = true)]
async fn after_a_break_output_goes_on_without_gap_or_duplicate() {
    let mut world = World::new().await;
    let bytes = noise(20 * MAX_CHUNK_BYTES + 5);
    let breaks = vec![1, 3 * MAX_CHUNK_BYTES, 11 * MAX_CHUNK_BYTES];
    *world.controller.state.break_at.lock().unwrap() = breaks.clone();
    let mut output = Output::new(world.dir.path(), attempt(1));
    output.write(&bytes);
    let length = output.complete();
    world.engine.start(&output.source);
    world.engine.finish(attempt(1), length);
    let mut session = world.session().await;
    for _ in breaks {
        while session.next().await.is_some() {}
        session = world.session().await;
    }
    assert_eq!(session.report().await.output_bytes, length);
    assert_eq!(world.controller.output(attempt(1)), bytes);
}

#[tokio::test(start_paused = true)]
async fn a_cut_network_in_the_middle_loses_and_doubles_nothing() {
    let mut world = World::new().await;
    let bytes = noise(30 * MAX_CHUNK_BYTES);
    let mut output = Output::new(world.dir.path(), attempt(1));
    output.write(&bytes);
    let length = output.complete();
    world.engine.start(&output.source);
    world.engine.finish(attempt(1), length);
    let mut session = world.session().await;
    for part in 1..4 {
        soon("a part arrives", async {
            while world.controller.output(attempt(1)).len() < part * 6 * MAX_CHUNK_BYTES {
                tokio::task::yield_now().await;
            }
        })
        .await;
        world.controller.memory.as_ref().unwrap().cut();
        session = world.session().await;
    }
    session.report().await;
    assert_eq!(world.controller.output(attempt(1)), bytes);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_71_a_controller_that_acknowledges_nothing_is_sent_a_window_and_no_more() {
    let mut world = World::new().await;
    world.controller.state.acks.send_replace(false);
    let mut session = world.session().await;
    session.ready().await;
    let length = 24 * MAX_CHUNK_BYTES;
    for n in 1..=3 {
        let mut output = Output::new(world.dir.path(), attempt(n));
        output.write(&noise(length));
        output.complete();
        world.engine.start(&output.source);
    }
    for _ in 0..6 {
        session.heartbeat().await;
    }
    let stored: Vec<usize> = (1..=3).map(|n| world.controller.output(attempt(n)).len()).collect();
    assert_eq!(stored.iter().sum::<usize>(), 16 * MAX_CHUNK_BYTES, "the window over all runs");
    assert!(stored.iter().all(|bytes| *bytes > 0), "runs take turns: {stored:?}");
    world.controller.state.acks.send_replace(true);
    soon("everything arrives", async {
        while (1..=3).any(|n| world.controller.output(attempt(n)).len() < length) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_closed_is_reported_without_the_rest_of_its_output() {
    let mut world = World::new().await;
    world.controller.state.closed.lock().unwrap().insert(attempt(1).to_string());
    let mut session = world.session().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    output.write(&noise(MAX_CHUNK_BYTES));
    let length = output.complete();
    world.engine.start(&output.source);
    world.engine.finish(attempt(1), length);
    session.report().await;
    assert!(world.controller.output(attempt(1)).is_empty());
}

#[tokio::test(start_paused = true)]
async fn hostile_row_61_output_that_cannot_be_read_does_not_hold_the_report_back() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    output.write(&noise(2 * MAX_CHUNK_BYTES));
    let length = output.complete();
    let file = std::fs::OpenOptions::new().write(true).open(&output.source.path).unwrap();
    file.set_len(MAX_CHUNK_BYTES as u64 + 10).unwrap();
    world.engine.start(&output.source);
    world.engine.finish(attempt(1), length);
    let report = session.report().await;
    assert_eq!(report.output_bytes, MAX_CHUNK_BYTES as u64, "what is stored, and not more");
    assert!(report.warnings[0].contains("262144 bytes of output cannot be read"), "{:?}", report.warnings);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_was_not_recorded_is_sent_again_in_the_next_session() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    output.write(b"x");
    let length = output.complete();
    world.engine.start(&output.source);
    world.engine.finish(attempt(1), length);
    session.report().await;
    drop(session);
    let mut session = world.session().await;
    session.report().await;
    record(&world, &session, attempt(1)).await;
    drop(session);
    let mut session = world.session().await;
    assert!(session.hello.runs.is_empty());
    session.ready().await;
    assert_eq!(world.controller.output(attempt(1)), b"x");
}
