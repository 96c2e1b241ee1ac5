//! One test for each knob of HTTP/2: turned, and seen to work.

use std::time::Duration;

use super::super::http2::Http2;
use super::super::limits::Limits;
use super::wire::{self, *};
use super::{Bench, PIECE, PIPE};

async fn announced(bench: &Bench, setting: u16) -> Option<u32> {
    let mut client = bench.http2().await;
    let settings = client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).await.unwrap();
    settings.settings().get(&setting).copied()
}

fn with(http2: Http2) -> Limits {
    Limits { http2, ..Limits::rest() }
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_streams_at_once_are_announced_and_more_are_refused() {
    let bench = Bench::new(with(Http2 { streams: 3, ..Http2::users() }));
    assert_eq!(announced(&bench, SETTING_STREAMS).await, Some(3));
    let mut client = bench.http2().await;
    for _ in 0..3 {
        client.get("/never").await.unwrap();
    }
    let fourth = client.get("/ok").await.unwrap();
    let refused = client.until(|frame| frame.stream == fourth).await.unwrap();
    assert_eq!((refused.kind, refused.code()), (RST_STREAM, REFUSED_STREAM));
    assert_eq!(bench.http2().await.fetch("/ok").await.unwrap(), b"ok", "on another connection there is room");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_malformed_streams_end_the_connection_at_the_cap() {
    let bench = Bench::new(with(Http2 { local_resets: 10, ..Http2::users() }));
    let mut client = bench.http2().await;
    for _ in 0..50 {
        let (stream, block) = (client.stream(), [headers(GET, "/ok"), header("connection", "x")].concat());
        if client.send(HEADERS, END_HEADERS | END_STREAM, stream, &block).await.is_err() {
            break;
        }
    }
    assert_eq!(client.goaway().await.map(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
    assert_eq!(bench.counts().faults, 1);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_rapid_reset_ends_the_connection_at_the_cap() {
    let bench = Bench::new(with(Http2 { pending_resets: 5, ..Http2::users() }));
    let mut client = bench.http2().await;
    let mut burst = Vec::new();
    for _ in 0..100 {
        let stream = client.stream();
        burst.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &headers(GET, "/never")));
        burst.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    let _cut_off = client.send_all(&burst).await;
    assert_eq!(client.goaway().await.map(|frame| frame.code()), Some(ENHANCE_YOUR_CALM));
    assert_eq!(bench.http2().await.fetch("/ok").await.unwrap(), b"ok");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_headers_have_a_size_and_continuations_an_end() {
    let bench = Bench::new(with(Http2 { header_list: 4 * 1024, ..Http2::users() }));
    assert_eq!(announced(&bench, SETTING_HEADER_LIST).await, Some(4 * 1024));
    let mut client = bench.http2().await;
    let (stream, block) = (client.stream(), [headers(GET, "/ok"), header("x-long", &"x".repeat(8 * 1024))].concat());
    client.send(HEADERS, END_HEADERS | END_STREAM, stream, &block).await.unwrap();
    let answer = client.until(|frame| frame.stream == stream).await.unwrap();
    // The digits 431 in HPACK's Huffman code.
    assert!(answer.payload.windows(3).any(|w| w == [0x69, 0x90, 0xff]), "{answer:?}");

    let mut client = bench.http2().await;
    let stream = client.stream();
    client.send(HEADERS, END_STREAM, stream, &headers(GET, "/ok")).await.unwrap();
    let mut sent = 0;
    while sent < 100_000 && client.send(CONTINUATION, 0, stream, &header("x-more", "x")).await.is_ok() {
        sent += 1;
    }
    assert!(client.goaway().await.is_some_and(|frame| frame.code() != 0));
    assert!(sent < 10_000, "the flood was cut off, after {sent} frames");
    assert_eq!(bench.http2().await.fetch("/ok").await.unwrap(), b"ok");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_frame_has_a_size() {
    let bench = Bench::new(with(Http2 { frame: 16 * 1024, ..Http2::users() }));
    assert_eq!(announced(&bench, SETTING_FRAME).await, Some(16 * 1024));
    let mut client = bench.http2().await;
    let stream = client.request(POST, "/length", 0).await.unwrap();
    let _cut_off = client.send(DATA, END_STREAM, stream, &vec![0; 16 * 1024 + 1]).await;
    assert_eq!(client.goaway().await.map(|frame| frame.code()), Some(FRAME_SIZE_ERROR));
}

#[tokio::test(start_paused = true)]
async fn windows_of_streams_and_connections_are_announced() {
    let knobs = Http2 { stream_window: 128 * 1024, connection_window: 512 * 1024, ..Http2::users() };
    let bench = Bench::new(with(knobs));
    assert_eq!(announced(&bench, SETTING_WINDOW).await, Some(128 * 1024));
    let mut client = bench.http2().await;
    let update = client.until(|frame| frame.kind == WINDOW_UPDATE && frame.stream == 0).await.unwrap();
    assert_eq!(update.increment(), 512 * 1024 - 65_535);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_stream_may_not_send_beyond_its_window() {
    let bench = Bench::new(with(Http2 { stream_window: 16 * 1024, ..Http2::users() }));
    let mut client = bench.http2().await;
    client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK == 0).await.unwrap();
    client.send(SETTINGS, ACK, 0, &[]).await.unwrap();
    let stream = client.request(POST, "/unread", 0).await.unwrap();
    for _ in 0..64 {
        if client.send(DATA, 0, stream, &[0; 16 * 1024]).await.is_err() {
            break;
        }
    }
    let refused = client.until(|frame| matches!(frame.kind, GOAWAY | RST_STREAM)).await.unwrap();
    assert_eq!(refused.code(), FLOW_CONTROL_ERROR);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_reader_is_bounded_by_the_send_buffer() {
    let bench = Bench::new(with(Http2 { send_buffer: 32 * 1024, ..Http2::users() }));
    // A window as large as it can be, so that only the buffer holds anything back; and nobody reads.
    let mut client = bench.http2_with(&[(SETTING_WINDOW, 0x7fff_ffff)]).await;
    client.send(WINDOW_UPDATE, 0, 0, &(0x7fff_0000u32 - 65_535).to_be_bytes()).await.unwrap();
    client.get("/endless").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let kept = bench.taken() * PIECE;
    assert!(kept <= PIPE + 8 * 32 * 1024, "{kept} bytes were taken for a reader that reads nothing");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_reader_that_opens_no_window_gets_nothing_and_holds_nothing() {
    let bench = Bench::new(with(Http2::users()));
    let mut client = bench.http2_with(&[(SETTING_WINDOW, 0)]).await;
    for _ in 0..100 {
        client.get("/endless").await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(bench.taken() <= 100, "{} pieces", bench.taken());
    assert_eq!(bench.http2().await.fetch("/ok").await.unwrap(), b"ok");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_asked_and_given_up_and_one_that_answers_is_kept() {
    let knobs =
        Http2 { keep_alive: Duration::from_secs(20), keep_alive_timeout: Duration::from_secs(10), ..Http2::users() };
    let bench = Bench::new(with(knobs));
    let mut silent = bench.http2().await;
    silent.get("/never").await.unwrap();
    let began = tokio::time::Instant::now();
    assert!(silent.until(|frame| frame.kind == PING).await.is_some());
    while silent.receive().await.is_some() {}
    assert_eq!(began.elapsed().as_secs(), 30);

    let mut good = bench.http2().await;
    good.get("/never").await.unwrap();
    let kept = tokio::time::timeout(Duration::from_secs(600), good.behave()).await;
    assert!(kept.is_err(), "ten minutes later it is still there");
}

#[test]
fn the_knobs_of_both_listeners_are_what_is_written_down() {
    let (users, agents) = (Http2::users(), Http2::agents());
    assert_eq!((users.streams, agents.streams), (200, 32));
    assert_eq!((users.local_resets, users.pending_resets, users.header_list), (1_024, 20, 16 * 1024));
    assert_eq!((users.frame, users.send_buffer), (16 * 1024, 64 * 1024));
    assert_eq!((agents.stream_window, agents.connection_window), (1024 * 1024, 4 * 1024 * 1024));
    assert_eq!((users.keep_alive, users.keep_alive_timeout), (Duration::from_secs(20), Duration::from_secs(10)));
    let _all = wire::frame(DATA, 0, 0, &[]);
}
