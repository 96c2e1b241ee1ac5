//! SQLite, embedded: the default store.
//!
//! One `writer` commits what waits as one transaction; a few `readers` read beside it. Every
//! family of verbs is a file of functions on a connection; this one wires them to the contract.
//!
//! Durability: WAL with `synchronous=FULL`; a verb answers after the commit that holds it. Heartbeats
//! are the one exception the contract allows (see `agents`).
//!
//! Not here: who may use the data directory (the application locks it), and time: every verb is told.

mod accept;
mod access;
mod agents;
mod alarms;
mod attempts;
mod attention;
mod audit;
mod bars;
mod certificates;
mod clusters;
mod connect;
mod copy;
mod defaults;
mod ending;
mod enroll;
mod events;
mod evidence;
mod fault;
mod figures;
mod health;
mod inventory;
mod lease;
mod masking;
mod migrate;
mod operations;
mod orphans;
mod output;
mod page;
mod readers;
mod reconfigure;
mod removal;
mod resources;
mod restored;
mod retries;
mod revisions;
mod rows;
mod sealed;
mod settle;
mod upkeep;
mod users;
mod verbs;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use cratekube_common::domain::id::AgentId;
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::files;

use super::{AuditLink, BeginRestored, HeartbeatFacts, Meters, RestoredStore, StoreError};
pub use copy::Copied;
use output::Output;
pub use output::file_of as output_file;
use readers::Readers;
pub use sealed::SealedFor;
use writer::{Teller, Writer};

/// The database within the data directory.
pub const DATABASE_FILE: &str = "cratekube.db";
/// The output of operations within the data directory.
pub const OUTPUT_DIR: &str = "output";
/// Page cache of the writer: what a burst of small transactions touches.
const WRITER_CACHE_KIB: u32 = 4_096;

/// Where the work of the store is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Execution {
    /// Writes on a thread of their own, lists and files on threads that may block.
    #[default]
    Thread,
    /// Everything on the task that asks: no thread decides the order of anything, so that a
    /// simulation repeats itself.
    Inline,
}

/// How to open the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct SqliteOptions {
    /// Where the work is done.
    pub execution: Execution,
}

/// The embedded store.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    teller: Arc<Teller>,
    readers: Arc<Readers>,
    output: Arc<Output>,
    sightings: agents::Sightings,
}

impl SqliteStore {
    /// Opens the store in a data directory, making both when they are not there.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the database is damaged, not ours, or from a newer release; it is left
    /// as it is then.
    pub fn open(data_dir: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        Self::open_with(data_dir, options, clock::system())
    }

    /// Like [`SqliteStore::open`], with the clock that events get their time from.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(data_dir: &Path, options: SqliteOptions, clock: Clock) -> Result<Self, StoreError> {
        let (file, outputs) = (data_dir.join(DATABASE_FILE), data_dir.join(OUTPUT_DIR));
        let failed = |e: std::io::Error| StoreError::Open(format!("{}: {e}", data_dir.display()));
        if !file.try_exists().map_err(failed)? && has_entries(&outputs) {
            return Err(StoreError::Open(format!(
                "{} is missing although {} holds output: restore it from a backup, or move the output away to begin anew",
                file.display(),
                outputs.display()
            )));
        }
        files::make_dir(&outputs).map_err(failed)?;
        let db = migrate::open_writer(&file, WRITER_CACHE_KIB)?;
        let inline = options.execution == Execution::Inline;
        let teller = Teller::new(clock);
        let writer = match options.execution {
            Execution::Inline => Writer::inline(db, Arc::clone(&teller)),
            Execution::Thread => Writer::thread(db, Arc::clone(&teller))?,
        };
        let readers = Readers::new(file, inline);
        let output = Output::new(outputs, inline, writer.clone(), Arc::clone(&readers));
        Ok(Self { writer, teller, readers, output, sightings: agents::Sightings::default() })
    }

    /// How it writes.
    #[must_use]
    pub fn meters(&self) -> Meters {
        self.teller.meters.clone()
    }

    /// Follows the chain of the audit log. Answers how many entries it has.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the number of the first entry that is missing or was changed.
    pub async fn verify_audit(&self) -> Result<u64, StoreError> {
        Ok(self.follow_audit(None).await?.map_or(0, |last| last.number))
    }

    /// Follows the chain of the audit log, which must reach the anchor and agree with it. Answers its end.
    ///
    /// # Errors
    /// As [`Self::verify_audit`].
    pub async fn follow_audit(&self, anchor: Option<AuditLink>) -> Result<Option<AuditLink>, StoreError> {
        self.readers.scan(move |db| audit::verify(db, anchor.as_ref())).await
    }

    /// Seals the secrets of every cluster and the manifests of every managed resource anew, in one transaction; `anew` answers nothing for one that
    /// is so already. Answers how many there are.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when one of them does not open; none is changed then.
    pub async fn reseal_secrets<F>(&self, anew: F) -> Result<u64, StoreError>
    where
        F: Fn(&SealedFor, &[u8]) -> Result<Option<Vec<u8>>, String> + Send + 'static,
    {
        self.writer.run(move |db| sealed::reseal(db, anew)).await
    }

    /// Copies the database as it is at one moment into a new file, beside whoever writes to it. Answers what is
    /// known in it of files that do not lie in it.
    ///
    /// # Errors
    /// When either cannot be read or written.
    pub async fn copy_to(&self, target: &Path) -> Result<Copied, StoreError> {
        let target = target.to_owned();
        self.readers.scan(move |db| copy::copy(db, &target)).await
    }

    /// Reads all of the database and checks that it is whole.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with what is wrong first.
    pub async fn check_whole(&self) -> Result<(), StoreError> {
        self.readers.scan(copy::check).await
    }

    /// The store was just put back from a backup: nothing of before is honoured from now on.
    ///
    /// # Errors
    /// From the database; nothing is changed then.
    pub async fn begin_restored(&self, request: BeginRestored) -> Result<RestoredStore, StoreError> {
        self.writer.run(move |db| restored::begin(db, &request)).await
    }

    async fn write_sightings(&self, seen: Vec<(AgentId, HeartbeatFacts)>) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        self.writer.run(move |db| agents::write_sightings(db, &seen)).await
    }
}

fn has_entries(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}
