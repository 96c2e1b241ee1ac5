//! Clients that take their time: each has an end, and no other waits for it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::super::limits::Limits;
use super::super::renewal::Source;
use super::Bench;
use super::wire::*;

async fn fetch(bench: &Bench) -> Vec<u8> {
    bench.http2().await.fetch("/ok").await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn hostile_row_42_ten_thousand_half_handshakes_end_in_time_and_keep_nobody_out() {
    const HALVES: usize = 10_000;
    let limits = Limits { connections: HALVES + 10, per_address: 500, ..Limits::rest() };
    let bench = Bench::new(limits);
    let began = Instant::now();
    let mut held = Vec::new();
    for n in 0..HALVES {
        let mut pipe = bench.dial_from(&format!("10.{}.{}.1:9", n / 256 % 256, n % 256));
        // The header of a record that promises more, and then nothing.
        pipe.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        held.push(pipe);
    }
    assert_eq!(fetch(&bench).await, b"ok", "while they all wait");
    let mut last = held.pop().unwrap();
    assert_eq!(last.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    assert_eq!(began.elapsed().as_secs(), 10);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.counts().handshakes_late, HALVES as u64);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_42_one_address_cannot_take_all_places() {
    let bench = Bench::new(Limits { connections: 100, per_address: 5, ..Limits::rest() });
    let held: Vec<_> = (0..50).map(|_| bench.dial_from("10.0.0.1:9")).collect();
    assert_eq!(fetch(&bench).await, b"ok");
    assert_eq!(bench.counts().turned_away, 45);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn hostile_row_75_http_2_that_is_never_begun_ends() {
    let bench = Bench::new(Limits::rest());
    for sent in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"] {
        let mut client = bench.secure(bench.dial(), b"h2").await.unwrap();
        let began = Instant::now();
        client.write_all(sent).await.unwrap();
        let _cut_off = client.read_to_end(&mut Vec::new()).await;
        assert_eq!(began.elapsed().as_secs(), 10, "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn hostile_row_75_a_header_that_comes_byte_by_byte_ends() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http1().await;
    let began = Instant::now();
    let slow = async {
        for byte in b"GET /ok HTTP/1.1\r\nhost: localhost\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x')) {
            if client.write_all(&[*byte]).await.is_err() || client.flush().await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), slow).await.expect("it was cut off");
    assert!(began.elapsed() <= Duration::from_secs(12), "{:?}", began.elapsed());
    let mut idle = bench.http1().await;
    let began = Instant::now();
    let _cut_off = idle.read_to_end(&mut Vec::new()).await;
    assert_eq!(began.elapsed().as_secs(), 10, "one that says nothing at all, too");
}

#[tokio::test(start_paused = true)]
async fn hostile_row_75_a_client_that_never_reads_is_given_up_and_little_is_kept_for_it() {
    let bench = Bench::new(Limits::rest());
    let mut client = bench.http1().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let began = Instant::now();
    while bench.counts().faults == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < Duration::from_secs(60), "it was never given up");
    }
    assert!((30..=32).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(bench.taken() < 32, "{} pieces", bench.taken());
}

#[tokio::test(start_paused = true)]
async fn hostile_row_76_a_connection_ends_with_a_goaway_at_its_age_and_what_is_open_may_finish() {
    let bench = Bench::new(Limits::agents());
    let mut client = bench.http2().await;
    client.get("/never").await.unwrap();
    let began = Instant::now();
    let goaway = loop {
        let frame = client.receive().await.unwrap();
        match frame.kind {
            GOAWAY => break frame,
            PING if frame.flags & ACK == 0 => client.send(PING, ACK, 0, &frame.payload).await.unwrap(),
            _ => {}
        }
    };
    assert_eq!(goaway.code(), 0, "no error: it is time");
    let age = began.elapsed();
    assert!(Duration::from_secs(2_880) <= age && age <= Duration::from_secs(3_600), "{age:?}");
    client.behave().await;
    assert_eq!((began.elapsed() - age).as_secs(), 10, "what does not finish is cut");
    assert_eq!((bench.counts().retired, bench.counts().faults), (1, 0));
    assert_eq!(fetch(&bench).await, b"ok", "a new connection is welcome");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_exchanged_without_dropping_a_connection_and_a_broken_one_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("rest.pem"), folder.path().join("rest.key"));
    let write = |name: &str| {
        let pair = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&pair).unwrap();
        std::fs::write(&certificate, made.pem()).unwrap();
        std::fs::write(&key, pair.serialize_pem()).unwrap();
        made.der().clone()
    };
    let mut current = write("localhost");
    let mut bench = Bench::with(Limits::rest(), Source::Files(certificate.clone(), key.clone()));
    bench.roots.add(current.clone()).unwrap();
    let mut kept = bench.http2().await;
    assert_eq!(kept.fetch("/ok").await.unwrap(), b"ok");
    assert!(!bench.renewal.pass(), "nothing changed");
    for broken in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&certificate, broken).unwrap();
        assert!(!bench.renewal.pass(), "{broken:?}");
        assert_eq!(bench.http2().await.fetch("/ok").await.unwrap(), b"ok", "the old one stays in use");
    }
    let old = std::mem::replace(&mut current, write("localhost"));
    assert!(bench.renewal.pass());
    assert!(bench.secure(bench.dial(), b"h2").await.is_err(), "the new one is shown, and not trusted yet");
    bench.roots.add(current.clone()).unwrap();
    let shown = bench.secure(bench.dial(), b"h2").await.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, current);
    assert_ne!(shown, old);
    assert_eq!(kept.fetch("/ok").await.unwrap(), b"ok", "who was there before is not disturbed");
}
