//! Floods on one connection: the flooder is held back or cut off, and others do not notice.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::limits::Limits;
use super::Bench;
use super::wire::*;

/// Sends a frame again and again, while another client asks for something; the number that was sent.
async fn flood(bench: &Bench, client: &mut Wire, one: Vec<u8>, times: usize) -> usize {
    let burst: Vec<u8> = one.repeat(64);
    let mut victim = bench.http2().await;
    for round in 0..times / 64 {
        if round % 32 == 0 {
            assert_eq!(victim.fetch("/ok").await.unwrap(), b"ok", "a victim waits in vain");
        }
        tokio::select! {
            sent = client.send_all(&burst) => if sent.is_err() { return round * 64 },
            // Held back: nobody takes more of it.
            () = tokio::time::sleep(std::time::Duration::from_secs(60)) => return round * 64,
        }
    }
    times
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_flood_of_pings_is_held_back_when_nobody_reads_the_answers() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http2().await;
    let sent = flood(&bench, &mut client, frame(PING, 0, 0, &[7; 8]), 100_000).await;
    assert!(sent < 100_000, "{sent} pings were taken without an answer being read");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_flood_of_settings_is_held_back_when_nobody_reads_the_answers() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http2().await;
    let sent = flood(&bench, &mut client, frame(SETTINGS, 0, 0, &[]), 100_000).await;
    assert!(sent < 100_000, "{sent} settings were taken without an answer being read");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_flood_of_empty_data_does_not_hold_up_others() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http2().await;
    let stream = client.request(POST, "/length", 0).await.unwrap();
    flood(&bench, &mut client, frame(DATA, 0, stream, &[]), 100_000).await;
    assert_eq!(bench.http2().await.fetch("/ok").await.unwrap(), b"ok");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_73_a_flood_of_window_updates_ends_in_an_overflow() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http2().await;
    let update = frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes());
    let _cut_off = client.send_all(&update.repeat(4)).await;
    assert_eq!(client.goaway().await.map(|frame| frame.code()), Some(FLOW_CONTROL_ERROR));
}

#[tokio::test(start_paused = true)]
async fn hostile_row_76_many_streams_that_the_client_cancels_are_no_fault_of_the_connection() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http2().await;
    for _ in 0..3_000 {
        let stream = client.get("/never").await.unwrap();
        // Wait until it was taken: what is cancelled then is ordinary.
        client.send(PING, 0, 0, &[1; 8]).await.unwrap();
        client.until(|frame| frame.kind == PING && frame.flags & ACK != 0).await.unwrap();
        client.send(RST_STREAM, 0, stream, &8u32.to_be_bytes()).await.unwrap();
    }
    assert_eq!(client.fetch("/ok").await.unwrap(), b"ok");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_75_a_thousand_headers_or_endless_ones_are_refused_on_http_1() {
    let bench = Bench::new(Limits::rest());
    let mut refused = 0;
    for head in ["x-a: b\r\n".repeat(1_000), format!("x-a: {}\r\n", "b".repeat(100_000))] {
        let mut client = bench.http1().await;
        let request = format!("GET /ok HTTP/1.1\r\nhost: localhost\r\n{head}\r\n");
        let _cut_off = client.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _cut_off = client.read_to_end(&mut answer).await;
        // A client that is cut off while it still sends may not see the answer.
        let told = answer.starts_with(b"HTTP/1.1 431") || (answer.is_empty() && head.len() > 64 * 1024);
        assert!(told, "{}", String::from_utf8_lossy(&answer));
        refused += 1;
        assert_eq!(bench.counts().faults, refused);
    }
}
