//! Masking of secrets alone: how much output a supervisor, or a controller, looks at in a second.

use std::io::Write;

use cratekube_common::domain::secret::Secret;
use cratekube_common::redact::{KnownSecrets, Login, Redactor};
use tokio::time::Instant;

const BYTES: usize = 200 * 1000 * 1000;
/// What a supervisor reads at once.
const CHUNK: usize = 256 * 1024;
const LOG: &str = "time=\"2026-11-23T17:01:49Z\" level=info msg=\"Pulling image [registry.example:5000/rancher/rke-tools:v0.1.80] on host [192.0.2.11], try #1\"\n";
const SECRETS: &str =
    "{\"user\":\"robot\",\"password\":\"hunter2-hunter2\"} eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl\n";

pub(super) fn run(out: &mut impl Write) -> anyhow::Result<()> {
    let login = Login { user: Some("robot".into()), password: Secret::new("hunter2-hunter2") };
    let known = KnownSecrets::of(&[login]);
    let rows = [
        ("redact: events of rke                 ", LOG.to_owned(), None),
        ("redact: the same, a password is known ", LOG.to_owned(), known.as_ref()),
        ("redact: nothing but secrets           ", SECRETS.to_owned(), None),
        ("redact: one line without end          ", "abcdefghijklmnopqrstuvwxyz".to_owned(), None),
    ];
    for (name, text, known) in rows {
        let chunk: Vec<u8> = text.bytes().cycle().take(CHUNK).collect();
        let mut redactor = Redactor::new(known);
        let begun = Instant::now();
        let mut passed = 0;
        while passed < BYTES {
            passed += redactor.pass(&chunk).len();
        }
        let speed = passed as f64 / 1e6 / begun.elapsed().as_secs_f64();
        writeln!(out, "{name} {speed:.0} MB/s   to pass 150 with room")?;
    }
    Ok(())
}
