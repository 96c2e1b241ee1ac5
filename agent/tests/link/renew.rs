//! A new certificate before the old one ends, proved before the old one is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cratekube_common::runtime::clock::{self, Clock, ManualClock};
use cratekube_common::runtime::tls::fingerprint;
use cratekube_proto::v1;
use cratekube_proto::v1::controller_message::Message as Down;

use crate::support::controller::Options;
use crate::support::engine::{Output, attempt};
use crate::support::{World, soon};

fn renewals(world: &World) -> usize {
    world.controller.state.renewals.load(Ordering::SeqCst)
}

fn current(world: &World) -> String {
    fingerprint(&world.files.load().unwrap().current.chain[0])
}

#[tokio::test(start_paused = true)]
async fn hostile_row_38_a_certificate_is_renewed_at_seven_tenths_of_its_life_under_a_running_run() {
    let manual = ManualClock::at(clock::system().now());
    let clock: Clock = Arc::clone(&manual) as Clock;
    let mut world = World::with(Options::default(), clock).await;
    let mut output = Output::new(world.dir.path(), attempt(1));
    world.engine.start(&output.source);
    output.write(b"before ");
    let mut session = world.session().await;
    session.ready().await;
    let first = session.certificate.clone();

    manual.jump(16 * 3_600_000);
    assert!(world.controller.session_within(Duration::from_secs(3_600)).await.is_none());
    assert_eq!(renewals(&world), 0, "not before it is due");
    manual.jump(3_600_000);
    let mut renewed = world.session().await;
    assert_eq!(renewals(&world), 1);
    assert_ne!(renewed.certificate, first);
    assert_eq!(current(&world), renewed.certificate, "what is kept is what is used");
    assert_eq!(renewed.hello.runs.len(), 1, "the run goes on");
    renewed.ready().await;
    output.write(b"after");
    let length = output.complete();
    world.engine.finish(attempt(1), length);
    renewed.report().await;
    assert_eq!(world.controller.output(attempt(1)), b"before after");
}

#[tokio::test(start_paused = true)]
async fn renewal_happens_at_once_when_asked_for() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    session.ready().await;
    session.send(Down::RenewNow(v1::RenewNow {})).await;
    let renewed = world.session().await;
    assert_ne!(renewed.certificate, session.certificate);
    assert_eq!(current(&world), renewed.certificate);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_is_tried_again_and_leaves_the_session_alone() {
    let mut world = World::new().await;
    world.controller.state.failing_renewals.store(1_000, Ordering::SeqCst);
    let mut session = world.session().await;
    session.ready().await;
    session.send(Down::RenewNow(v1::RenewNow {})).await;
    soon("three tries", async {
        while renewals(&world) < 3 {
            session.heartbeat().await;
        }
    })
    .await;
    assert_eq!(current(&world), session.certificate, "the old one is in use");
    world.controller.state.failing_renewals.store(0, Ordering::SeqCst);
    assert_ne!(world.session().await.certificate, session.certificate);
    assert!(renewals(&world) >= 4);
}

#[tokio::test(start_paused = true)]
async fn a_new_certificate_that_is_not_accepted_is_dropped_and_the_old_one_stays() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    session.ready().await;
    world.controller.state.refuse_new.store(true, Ordering::SeqCst);
    session.send(Down::RenewNow(v1::RenewNow {})).await;
    for _ in 0..3 {
        session.heartbeat().await;
    }
    assert!(renewals(&world) >= 1);
    let saved = world.files.load().unwrap();
    assert_eq!(fingerprint(&saved.current.chain[0]), session.certificate);
    assert!(saved.next.is_none());
    world.controller.state.refuse_new.store(false, Ordering::SeqCst);
    assert_ne!(world.session().await.certificate, session.certificate, "a later try works");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_was_granted_before_a_crash_is_used_after_it() {
    let mut world = World::new().await;
    drop(world.session().await);
    world.shutdown.insist();
    soon("the agent ends", &mut world.link).await.unwrap();
    let identity = world.controller.authority.identity(&world.controller.address);
    world.files.stage(&identity).unwrap();
    let staged = fingerprint(&identity.chain[0]);

    world.restart();
    let session = world.session().await;
    assert_eq!(session.certificate, staged);
    assert_eq!(renewals(&world), 0, "no other certificate is asked for");
    assert_eq!(current(&world), staged);
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_of_before_a_crash_is_dropped() {
    let mut world = World::new().await;
    let session = world.session().await;
    world.shutdown.insist();
    soon("the agent ends", &mut world.link).await.unwrap();
    let identity = world.controller.authority.identity(&world.controller.address);
    world.files.stage(&identity).unwrap();
    world.controller.state.refused.lock().unwrap().insert(fingerprint(&identity.chain[0]));

    world.restart();
    assert_eq!(world.session().await.certificate, session.certificate);
    assert!(world.files.load().unwrap().next.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_ended_certificate_is_renewed_before_anything_else() {
    let manual = ManualClock::at(clock::system().now());
    manual.jump(25 * 3_600_000);
    let mut world = World::with(Options::default(), manual).await;
    let session = world.session().await;
    assert_eq!(renewals(&world), 1);
    assert_eq!(current(&world), session.certificate);
}
