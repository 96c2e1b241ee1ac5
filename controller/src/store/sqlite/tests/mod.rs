//! What is particular to SQLite; what every store must do is in the conformance suite, played here
//! in both ways to execute.

mod damage;
mod durability;
mod rules;

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::{DATABASE_FILE, Execution, SqliteOptions, SqliteStore};
use crate::store::Store;
use crate::store::conformance::{self, Factory, House, Opened, Place};

/// A store in a folder that goes away with the story.
struct Folder {
    dir: tempfile::TempDir,
    options: SqliteOptions,
}

impl Place for Folder {
    fn open(&self) -> Opened<'_> {
        Box::pin(async { Arc::new(SqliteStore::open(self.dir.path(), self.options).unwrap()) as Arc<dyn Store> })
    }
}

struct Folders(Execution);

impl Factory for Folders {
    fn place(&self) -> Box<dyn Place> {
        let options = SqliteOptions { execution: self.0 };
        Box::new(Folder { dir: tempfile::tempdir().unwrap(), options })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_story_on_a_thread_of_its_own() {
    assert!(conformance::run_all(&Folders(Execution::Thread)).await > 60);
}

#[tokio::test]
async fn every_story_on_the_caller() {
    assert!(conformance::run_all(&Folders(Execution::Inline)).await > 60);
}

/// A house whose folder the test can look into.
async fn house(dir: &Path) -> House {
    struct At(std::path::PathBuf);
    impl Place for At {
        fn open(&self) -> Opened<'_> {
            let options = SqliteOptions::default();
            Box::pin(async move { Arc::new(SqliteStore::open(&self.0, options).unwrap()) as Arc<dyn Store> })
        }
    }
    House::open(Box::new(At(dir.to_owned()))).await
}

/// A second connection, as another process would have it.
fn raw(dir: &Path) -> Connection {
    let db = Connection::open(dir.join(DATABASE_FILE)).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db
}
