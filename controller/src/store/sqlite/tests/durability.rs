//! Group commit: together on disk, apart in failure; and what was answered is on disk.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use cratekube_common::domain::run::RunOutcome;
use cratekube_common::runtime::clock;
use rusqlite::Connection;

use super::{house, raw};
use crate::store::sqlite::fault::Fault;
use crate::store::sqlite::writer::{Teller, Writer};
use crate::store::sqlite::{OUTPUT_DIR, SqliteOptions, SqliteStore, migrate};
use crate::store::{Store, StoreError};

/// A writer on a table of its own.
fn writer(dir: &Path) -> Writer {
    let db = migrate::open_writer(&dir.join("cratekube.db"), 512).unwrap();
    db.execute_batch("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT UNIQUE)").unwrap();
    Writer::thread(db, Teller::new(clock::system())).unwrap()
}

fn note(text: &str) -> impl FnOnce(&Connection) -> Result<usize, Fault> + Send + 'static {
    let text = text.to_owned();
    move |db| Ok(db.execute("INSERT INTO notes (text) VALUES (?1)", [text])?)
}

fn notes(dir: &Path) -> Vec<String> {
    let db = raw(dir);
    let mut select = db.prepare("SELECT text FROM notes ORDER BY id").unwrap();
    let found = select.query_map([], |row| row.get(0)).unwrap();
    found.map(Result::unwrap).collect()
}

/// Keeps the writer busy until told, so that what comes meanwhile is committed together.
fn occupy(writer: &Writer) -> (mpsc::Sender<()>, tokio::task::JoinHandle<Result<(), StoreError>>) {
    let (go, wait) = mpsc::channel();
    let writer = writer.clone();
    let until_told = move |_: &Connection| {
        let _told = wait.recv();
        Ok(())
    };
    let busy = tokio::spawn(async move { writer.run(until_told).await });
    (go, busy)
}

#[tokio::test]
async fn a_job_that_fails_is_undone_alone() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let (go, busy) = occupy(&writer);
    tokio::task::yield_now().await;
    let half = |db: &Connection| {
        db.execute("INSERT INTO notes (text) VALUES ('half')", [])?;
        Err::<(), _>(Fault::Damaged("changed my mind".into()))
    };
    let all = async {
        tokio::join!(
            writer.run(note("one")),
            writer.run(half),
            writer.run(note("one")),
            writer.run(note("two")),
            async { go.send(()) }
        )
    };
    let (one, half, twice, two, _) = all.await;
    busy.await.unwrap().unwrap();
    assert_eq!((one.unwrap(), two.unwrap()), (1, 1));
    assert!(matches!(half, Err(StoreError::Damaged(why)) if why == "changed my mind"));
    assert!(matches!(twice, Err(StoreError::Damaged(_))));
    assert_eq!(notes(dir.path()), ["one", "two"]);
}

#[tokio::test]
async fn when_the_commit_fails_nobody_is_told_that_it_happened() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let (go, busy) = occupy(&writer);
    tokio::task::yield_now().await;
    // A constraint that SQLite checks only at the commit.
    let orphan = |db: &Connection| {
        db.execute_batch(
            "PRAGMA defer_foreign_keys = ON; INSERT INTO volumes (id, agent, taken_at) VALUES ('v', 'nobody', 0)",
        )
        .map_err(Fault::from)
    };
    let (one, orphan, _) = tokio::join!(writer.run(note("one")), writer.run(orphan), async { go.send(()) });
    assert!(matches!(one, Err(StoreError::Unavailable(_))), "{one:?}");
    assert!(matches!(orphan, Err(StoreError::Unavailable(_))), "{orphan:?}");
    busy.await.unwrap().unwrap_or_default();
    assert!(notes(dir.path()).is_empty());
    writer.run(note("after")).await.unwrap();
    assert_eq!(notes(dir.path()), ["after"]);
}

#[tokio::test]
async fn hostile_row_77_a_full_disk_is_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let pages: i64 = writer.run(|db| Ok(db.pragma_query_value(None, "page_count", |row| row.get(0))?)).await.unwrap();
    writer.run(move |db| Ok(db.pragma_update(None, "max_page_count", pages + 2)?)).await.unwrap();
    let big = "x".repeat(1 << 16);
    let full = writer.run(note(&big)).await;
    assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    writer.run(note("small")).await.unwrap();
    assert_eq!(notes(dir.path()), ["small"]);
}

#[tokio::test]
async fn what_waits_is_done_before_closing_and_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let writer = writer(dir.path());
    let (go, _busy) = occupy(&writer);
    tokio::task::yield_now().await;
    let (one, (), _) = tokio::join!(writer.run(note("one")), writer.close(), async { go.send(()) });
    one.unwrap();
    assert!(matches!(writer.run(note("late")).await, Err(StoreError::Unavailable(_))));
    assert_eq!(notes(dir.path()), ["one"]);
}

/// What a power cut would leave: the files as they are, without the shared memory.
fn after_a_power_cut(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["cratekube.db", "cratekube.db-wal"] {
        fs::copy(dir.join(name), copy.path().join(name)).unwrap();
    }
    for folder in fs::read_dir(dir.join(OUTPUT_DIR)).unwrap().map(Result::unwrap) {
        let to = copy.path().join(OUTPUT_DIR).join(folder.file_name());
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn hostile_row_45_what_was_answered_survives_a_power_cut_at_any_verb() {
    let dir = tempfile::tempdir().unwrap();
    let before = house(dir.path()).await;
    let bastion = before.bastion("bastion-a", "*").await;
    let operation = before.provisioned("prod", "web").await;
    let accepted = after_a_power_cut(dir.path());
    let work = before.lease_one(bastion).await;
    let leased = after_a_power_cut(dir.path());
    before.start(bastion, &work).await;
    before.append(bastion, &work, 0, "hello").await;
    let appended = after_a_power_cut(dir.path());
    let report = before.report(&work, RunOutcome::Succeeded);
    before.settle(bastion, report.clone()).await;
    let settled = after_a_power_cut(dir.path());
    // Not closed: whatever closing would write is missing in the copies.

    let after = house(accepted.path()).await;
    assert_eq!(after.lease_one(bastion).await.operation, operation.id);
    let after = house(leased.path()).await;
    assert_eq!(after.store.held_attempts().await.unwrap(), [(work.attempt, bastion.agent)]);
    let after = house(appended.path()).await;
    assert_eq!(&after.store.read_output(work.operation, 0, 9).await.unwrap().data[..], b"hello");
    after.settle(bastion, report).await;
    let after = house(settled.path()).await;
    assert_eq!(after.look(operation.id).await, before.look(operation.id).await);
    assert_eq!(after.cluster("prod", "web").await, before.cluster("prod", "web").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_write_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let server = house(dir.path()).await;
    let command_line = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
    let entry = crate::store::conformance::house::entry;
    let mut writes = Vec::new();
    for n in 0..20 {
        writes.push(command_line.audit(entry("join-token.create", &n.to_string()), server.now()));
        writes.push(server.store.audit(entry("agent.enroll", &n.to_string()), server.now()));
    }
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(command_line.verify_audit().await.unwrap(), 40);
}
