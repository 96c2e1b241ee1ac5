//! Databases that are not whole, not ours or not of this release: refused, and left as they are.

use std::fs;

use super::{house, raw};
use crate::store::sqlite::{DATABASE_FILE, OUTPUT_DIR, SqliteOptions, SqliteStore};
use crate::store::{Store, StoreError};

fn refusal(dir: &std::path::Path) -> String {
    match SqliteStore::open(dir, SqliteOptions::default()) {
        Err(StoreError::Open(why)) => why,
        other => panic!("{other:?}"),
    }
}

async fn used(dir: &std::path::Path) -> Vec<u8> {
    let house = house(dir).await;
    for n in 0..50 {
        house.provisioned("prod", &format!("web-{n}")).await;
    }
    house.store.close().await;
    fs::read(dir.join(DATABASE_FILE)).unwrap()
}

#[tokio::test]
async fn hostile_row_77_a_database_that_is_damaged_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let whole = used(dir.path()).await;
    let file = dir.path().join(DATABASE_FILE);
    let mut garbage = whole.clone();
    garbage[..16].copy_from_slice(b"not a database!!");
    let cut_off = whole[..whole.len() / 2].to_vec();
    let cases =
        [(garbage, "not an SQLite database"), (cut_off, "cut off"), (Vec::new(), "empty"), (vec![7; 40], "empty")];
    for (content, why) in cases {
        fs::write(&file, &content).unwrap();
        let said = refusal(dir.path());
        assert!(said.contains(why) && said.contains(DATABASE_FILE), "{said}");
        assert_eq!(fs::read(&file).unwrap(), content, "nothing was changed");
    }
    fs::write(&file, &whole).unwrap();
    let house = house(dir.path()).await;
    assert_eq!(house.store.environments().await.unwrap()[0].clusters, 50);
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    raw(dir.path()).pragma_update(None, "user_version", 99).unwrap();
    assert!(refusal(dir.path()).contains("newer release (schema 99; this release knows "));
    raw(dir.path()).pragma_update(None, "user_version", -1).unwrap();
    refusal(dir.path());
}

#[tokio::test]
async fn a_database_of_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    raw(dir.path()).execute_batch("CREATE TABLE clusters (id TEXT)").unwrap();
    assert!(refusal(dir.path()).contains("not a database of CrateKube"));
}

#[tokio::test]
async fn a_database_that_is_gone_is_not_begun_anew_beside_its_output() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    fs::create_dir_all(dir.path().join(OUTPUT_DIR).join("01")).unwrap();
    fs::remove_file(dir.path().join(DATABASE_FILE)).unwrap();
    assert!(refusal(dir.path()).contains("missing although"));
    assert!(!dir.path().join(DATABASE_FILE).exists());
}

#[tokio::test]
async fn output_that_is_gone_or_shorter_is_told_and_never_filled_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut house = house(dir.path()).await;
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "hello world").await;
    house.reopen().await;
    let id = work.operation.to_string();
    let file = dir.path().join(OUTPUT_DIR).join(&id[34..]).join(format!("{id}.log"));
    fs::write(&file, "hell").unwrap();
    let append = |data: &'static str| {
        house.store.append_output(
            bastion.agent,
            work.attempt,
            work.fence,
            11,
            bytes::Bytes::from_static(data.as_bytes()),
            house.now(),
        )
    };
    assert!(matches!(append("!").await, Err(StoreError::Damaged(_))));
    assert!(matches!(house.store.read_output(work.operation, 0, 99).await, Err(StoreError::Damaged(_))));
    fs::remove_file(&file).unwrap();
    assert!(matches!(append("!").await, Err(StoreError::Damaged(_))));
    assert!(!file.exists());
    fs::write(&file, "hello world and what was never committed").unwrap();
    append("!").await.unwrap();
    assert_eq!(&house.store.read_output(work.operation, 0, 99).await.unwrap().data[..], b"hello world!");
}

#[tokio::test]
async fn hostile_row_78_an_audit_entry_that_was_edited_or_taken_out_shows() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    let count = || async {
        let store = SqliteStore::open(dir.path(), SqliteOptions::default()).unwrap();
        let verified = store.verify_audit().await;
        store.close().await;
        verified.map_err(|fault| fault.to_string())
    };
    assert_eq!(count().await, Ok(50));
    let db = raw(dir.path());
    db.execute("UPDATE audit SET at = 0", []).unwrap_err();
    db.execute("DELETE FROM audit", []).unwrap_err();
    db.execute_batch("DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted").unwrap();
    db.execute("UPDATE audit SET entry = replace(entry, 'ann', 'bob') WHERE number = 7", []).unwrap();
    assert!(count().await.unwrap_err().contains("entry 7 was changed"));
    db.execute("UPDATE audit SET entry = replace(entry, 'bob', 'ann') WHERE number = 7", []).unwrap();
    assert_eq!(count().await, Ok(50));
    db.execute("DELETE FROM audit WHERE number = 9", []).unwrap();
    assert!(count().await.unwrap_err().contains("entry 9 is missing"));
}

#[tokio::test]
async fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "secret enough").await;
    let mut folders = vec![dir.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            if entry.file_type().unwrap().is_dir() {
                assert_eq!(mode, 0o700, "{:?}", entry.path());
                folders.push(entry.path());
            } else {
                assert_eq!(mode, 0o600, "{:?}", entry.path());
                files += 1;
            }
        }
    }
    assert_eq!(files, 4, "database, log, shared memory and one output");
}
