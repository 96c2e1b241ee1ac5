//! Connections that only read: a few, opened when first needed.
//!
//! Point reads take microseconds and run on the caller. Lists may take longer and go to the pool of
//! blocking threads, at most two at a time, so that they never hold all connections.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::fault::Fault;
use super::migrate;
use crate::store::StoreError;

/// Connections at most.
const CONNECTIONS: usize = 4;
/// Lists read at once.
const SCANS: usize = 2;
/// Page cache of each, in KiB.
const CACHE_KIB: u32 = 512;

/// The pool.
#[derive(Debug)]
pub(super) struct Readers {
    file: PathBuf,
    inline: bool,
    pool: Mutex<Pool>,
    freed: Condvar,
    scans: Semaphore,
}

#[derive(Debug, Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
    closed: bool,
}

impl Readers {
    /// A pool for a database file; opens nothing yet.
    pub(super) fn new(file: PathBuf, inline: bool) -> Arc<Self> {
        let pool = Mutex::new(Pool::default());
        Arc::new(Self { file, inline, pool, freed: Condvar::new(), scans: Semaphore::new(SCANS) })
    }

    /// Reads on the caller.
    pub(super) fn point<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        let lent = Lent { db: Some(self.take()?), readers: self };
        match &lent.db {
            Some(db) => read(db).map_err(StoreError::from),
            None => Err(closed()),
        }
    }

    /// Reads a list, in one snapshot, where blocking harms nobody.
    pub(super) async fn scan<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let snapshot = move |db: &Connection| {
            let _snapshot = db.unchecked_transaction()?;
            read(db)
        };
        if self.inline {
            return self.point(snapshot);
        }
        let _turn = self.scans.acquire().await.map_err(|_| closed())?;
        let readers = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || readers.point(snapshot)).await;
        read.unwrap_or_else(|e| Err(StoreError::Unavailable(format!("reading was ended: {e}"))))
    }

    /// Closes what is idle; what is lent is closed when it comes back.
    pub(super) fn close(&self) {
        let mut pool = self.lock();
        pool.closed = true;
        pool.idle.clear();
        self.freed.notify_all();
    }

    fn take(&self) -> Result<Connection, StoreError> {
        let mut pool = self.lock();
        loop {
            if pool.closed {
                return Err(closed());
            }
            if let Some(db) = pool.idle.pop() {
                return Ok(db);
            }
            if pool.open < CONNECTIONS {
                break;
            }
            pool = self.freed.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        pool.open += 1;
        drop(pool);
        migrate::open_reader(&self.file, CACHE_KIB).inspect_err(|_| {
            self.lock().open -= 1;
            self.freed.notify_one();
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that finds its way back.
struct Lent<'a> {
    db: Option<Connection>,
    readers: &'a Readers,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let mut pool = self.readers.lock();
        match self.db.take() {
            Some(db) if !pool.closed => pool.idle.push(db),
            _ => pool.open -= 1,
        }
        self.readers.freed.notify_one();
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}
