//! Output as it is read and followed.

use std::time::Duration;

use cratekube_common::domain::progress::Progress;
use cratekube_common::domain::run::RunOutcome;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::rest::Limits;
use crate::rest::testing::{Answer, Work, World};

struct Told {
    events: Vec<(String, Option<u64>, Value)>,
    comments: usize,
}

impl Told {
    fn read(text: &str) -> Self {
        let mut told = Told { events: Vec::new(), comments: 0 };
        for block in text.split("\n\n").filter(|block| !block.is_empty()) {
            let line = |name: &str| block.lines().find_map(|l| l.strip_prefix(name).map(|rest| rest.trim().to_owned()));
            if block.starts_with(':') {
                told.comments += 1;
            } else if let Some(event) = line("event:") {
                let data = serde_json::from_str(&line("data:").unwrap()).unwrap();
                told.events.push((event, line("id:").map(|id| id.parse().unwrap()), data));
            }
        }
        told
    }

    fn text(&self) -> String {
        self.events.iter().filter_map(|(_, _, data)| data["text"].as_str()).collect()
    }

    fn names(&self) -> Vec<&str> {
        self.events.iter().map(|(name, ..)| name.as_str()).collect()
    }
}

async fn with_output(bytes: &[u8]) -> (World, Work, String) {
    let world = World::new().await;
    let id = world.create("web").await;
    let mut work = world.work().await;
    world.write(&mut work, bytes).await;
    (world, work, format!("/v1/operations/{id}/output"))
}

async fn end(world: &World, work: &Work) {
    world.settle(work, RunOutcome::Succeeded).await;
}

#[tokio::test]
async fn output_of_any_size_comes_whole_and_as_plain_text() {
    let long: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let (world, _work, path) = with_output(&long).await;
    let answer = world.get(&path).await;
    assert_eq!((answer.status, answer.body == long), (StatusCode::OK, true));
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert_eq!(answer.header("content-length"), "4000000");
}

#[tokio::test]
async fn ranges_are_answered_and_the_total_is_told_when_it_is_known() {
    let (world, work, path) = with_output(b"0123456789").await;
    let get = |range: &str| world.ask(Method::GET, &path).header("range", range).send();
    let part = |a: Answer| (a.status.as_u16(), a.text(), a.header("content-range").to_owned());
    assert_eq!(part(get("bytes=2-4").await), (206, "234".into(), "bytes 2-4/*".into()));
    end(&world, &work).await;
    assert_eq!(part(get("bytes=-3").await), (206, "789".into(), "bytes 7-9/10".into()));
    assert_eq!(part(get("bytes=8-").await), (206, "89".into(), "bytes 8-9/10".into()));
    assert_eq!(part(get("bytes=0-0,2-3").await), (200, "0123456789".into(), String::new()));
    let beyond = get("bytes=10-").await;
    assert_eq!(
        (beyond.status, beyond.problem().as_str()),
        (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable")
    );
    assert_eq!(beyond.header("content-range"), "bytes */10");
}

#[tokio::test(start_paused = true)]
async fn following_shows_what_is_there_what_comes_and_how_it_ended() {
    let (world, mut work, path) = with_output(b"one\n").await;
    let story = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.write(&mut work, b"tw").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let progress = Progress { phase: "etcd".into(), step: 2, steps: 5 };
        world.progress(&work, progress).await;
        world.write(&mut work, b"o\n").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        end(&world, &work).await;
    };
    let follow = format!("{path}?follow=true");
    let (answer, ()) = tokio::join!(world.get(&follow), story);
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert!(answer.text().starts_with("retry: 2000\n\n"), "{}", answer.text());
    let told = Told::read(&answer.text());
    assert_eq!(told.names(), ["progress", "output", "output", "progress", "output", "end"]);
    assert_eq!(told.text(), "one\ntwo\n");
    let ids: Vec<_> = told.events.iter().filter_map(|(_, id, _)| *id).collect();
    assert_eq!(ids, [4, 6, 8]);
    assert_eq!(told.events[3].2["phase"], "etcd");
    assert_eq!(told.events[5].2["state"], "succeeded");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.watch.watched(), 0, "no watch is left behind");
}

#[tokio::test]
async fn a_broken_stream_goes_on_where_it_was() {
    let (world, work, path) = with_output("abc→def".as_bytes()).await;
    end(&world, &work).await;
    let follow = |id: &str| world.ask(Method::GET, &format!("{path}?follow=true")).header("last-event-id", id).send();
    assert_eq!(Told::read(&follow("6").await.text()).text(), "def");
    assert_eq!(Told::read(&follow("9").await.text()).names(), ["end"]);
    for bad in ["10", "-1", "x", "99999999999999999999999", "1 2"] {
        assert_eq!(follow(bad).await.problem(), "invalid-parameter", "{bad}");
    }
    let both = world.ask(Method::GET, &format!("{path}?follow=true")).header("range", "bytes=0-1").send().await;
    assert_eq!(both.problem(), "invalid-parameter");
    assert_eq!(world.get(&format!("{path}?follow=1")).await.problem(), "invalid-parameter");
}

#[tokio::test(start_paused = true)]
async fn a_character_is_never_cut_wherever_the_pieces_end() {
    let text = "→".repeat(50_000);
    let (world, mut work, path) = with_output(&text.as_bytes()[..1]).await;
    let story = async {
        for byte in &text.as_bytes()[1..4] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.write(&mut work, &[*byte]).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.write(&mut work, &text.as_bytes()[4..]).await;
        world.write(&mut work, b"\xe2\x86").await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        end(&world, &work).await;
    };
    let follow = format!("{path}?follow=true");
    let (answer, ()) = tokio::join!(world.get(&follow), story);
    assert_eq!(Told::read(&answer.text()).text(), format!("{text}\u{fffd}"));
}

#[tokio::test(start_paused = true)]
async fn silence_is_kept_alive_and_the_stream_ends_with_the_token() {
    let (world, _work, path) = with_output(b"").await;
    let began = tokio::time::Instant::now();
    let answer = world.get(&format!("{path}?follow=true")).await;
    assert_eq!(began.elapsed(), Duration::from_secs(300));
    let told = Told::read(&answer.text());
    assert_eq!(told.names(), ["progress", "closing"]);
    assert_eq!(told.events[1].2["reason"], "the token has expired");
    assert!(told.comments >= 15, "{}", told.comments);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_75_a_follower_that_never_reads_loses_its_place_and_holds_one_piece() {
    let world = World::with(Limits { streams_per_subject: 1, ..Limits::default() }).await;
    let id = world.create("web").await;
    let path = format!("/v1/operations/{id}/output?follow=true");
    let mut work = world.work().await;
    world.write(&mut work, &vec![b'x'; 10_000_000]).await;
    let idle = world.ask(Method::GET, &path).open().await;
    let second = world.get(&path).await;
    assert_eq!((second.status, second.problem().as_str()), (StatusCode::TOO_MANY_REQUESTS, "too-many-streams"));
    assert_ne!(second.header("retry-after"), "");
    tokio::time::sleep(Duration::from_secs(31)).await;
    let mut third = world.ask(Method::GET, &path).open().await;
    assert_eq!(third.status(), StatusCode::OK);
    assert!(third.body_mut().frame().await.unwrap().is_ok());
    let left = Answer::of(idle).await.body.len();
    assert!(left < 200_000, "{left} bytes were waiting for a reader that never read");
}
