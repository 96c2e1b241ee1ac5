//! Output of operations: bytes in files, their durable length in the database.
//!
//! Invariants: a length is committed only after its bytes are on disk, and answered only after that
//! commit; bytes behind the committed length are nobody's and may be overwritten; one worker at a time
//! writes to one operation's file. While a run goes on, nothing is shown of its end that may still turn out
//! to be a secret ([`super::masking`]).
//!
//! Pieces that arrive while others are being written wait in a queue and go to disk together: one
//! `fdatasync` and one commit for all of them. The worker does not belong to any caller, so a caller
//! that goes away interrupts nothing.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::{AgentId, AttemptId, OperationId};
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::fault::{self, Step};
use cratekube_common::runtime::files;
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use super::attempts::{self, Held};
use super::evidence;
use super::fault::Fault;
use super::masking::Masking;
use super::readers::Readers;
use super::rows::{self, int, key};
use super::writer::Writer;
use crate::store::{OutputAppended, OutputPiece, StoreError};

/// Files kept open for appending.
const OPEN_FILES: usize = 64;
/// Most bytes of one answer, whatever is asked for.
const MAX_PIECE: usize = 4 * 1024 * 1024;

/// Appends and reads output.
#[derive(Debug)]
pub(super) struct Output {
    dir: PathBuf,
    inline: bool,
    writer: Writer,
    readers: Arc<Readers>,
    logs: Mutex<HashMap<OperationId, Arc<Log>>>,
    uses: AtomicU64,
}

/// The output of one operation while it is appended to.
#[derive(Debug, Default)]
struct Log {
    file: Mutex<Option<Appending>>,
    /// The run that is written, and up to where in the file it is decided what is secret.
    decided: Mutex<Option<(AttemptId, u64)>>,
    queue: Mutex<Queue>,
    used: AtomicU64,
}

/// A file that is appended to, and the run that is written to it.
#[derive(Debug)]
struct Appending {
    file: File,
    masking: Masking,
}

/// How far an operation's output goes.
#[derive(Debug, Clone, Copy)]
struct Extent {
    end: u64,
    /// That is its end for good.
    complete: bool,
    /// The run that may still write, and where in the file it begins.
    open: Option<(AttemptId, u64)>,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: Vec<Piece>,
    busy: bool,
}

#[derive(Debug)]
struct Piece {
    run: (AgentId, AttemptId, Fence),
    offset: u64,
    data: Bytes,
    now: Timestamp,
    reply: oneshot::Sender<Result<OutputAppended, StoreError>>,
}

/// The file of an operation's output within the directory of outputs. Ids begin with the time, so that their
/// ends spread the files over the folders.
#[must_use]
pub fn file_of(operation: OperationId) -> PathBuf {
    let id = operation.to_string();
    let folder = &id[id.len() - 2..];
    PathBuf::from(folder).join(format!("{id}.log"))
}

impl Output {
    /// Output in a directory.
    pub(super) fn new(dir: PathBuf, inline: bool, writer: Writer, readers: Arc<Readers>) -> Arc<Self> {
        Arc::new(Self { dir, inline, writer, readers, logs: Mutex::default(), uses: AtomicU64::new(0) })
    }

    /// Stores a piece of a run's output.
    pub(super) async fn append(
        self: &Arc<Self>,
        run: (AgentId, AttemptId, Fence),
        offset: u64,
        data: Bytes,
        now: Timestamp,
    ) -> Result<OutputAppended, StoreError> {
        let Some(held) = self.readers.point(|db| admitted(db, run))? else {
            if self.readers.point(|db| attempts::is_foreign(db, run.0, run.1))? {
                return Ok(OutputAppended::Foreign);
            }
            if !data.is_empty() {
                self.writer.run(move |db| evidence::keep_output(db, run, offset, &data, now)).await?;
            }
            return Ok(OutputAppended::Closed);
        };
        if data.is_empty() {
            return Ok(OutputAppended::Stored { stored: held.output_bytes, operation: held.operation });
        }
        let (reply, answer) = oneshot::channel();
        let log = self.log(held.operation);
        let idle = {
            let mut queue = lock(&log.queue);
            queue.pieces.push(Piece { run, offset, data, now, reply });
            !std::mem::replace(&mut queue.busy, true)
        };
        if idle {
            let output = Arc::clone(self);
            let work = move || output.drain(held.operation, &log);
            if self.inline {
                work();
            } else {
                drop(tokio::task::spawn_blocking(work));
            }
        }
        answer.await.unwrap_or_else(|_| Err(StoreError::Unavailable("it is closing".into())))
    }

    /// Reads a piece of an operation's output.
    pub(super) async fn read(
        self: &Arc<Self>,
        id: OperationId,
        offset: u64,
        max: usize,
    ) -> Result<OutputPiece, StoreError> {
        let extent = self.readers.point(|db| extent(db, id))?;
        let end = match self.decided(id, &extent) {
            Some(end) => end,
            None => {
                let output = Arc::clone(self);
                self.beside(move || output.look_back(id, &extent)).await??
            }
        };
        let complete = extent.complete;
        let length = end.saturating_sub(offset).min(max.min(MAX_PIECE) as u64);
        if length == 0 {
            return Ok(OutputPiece { data: Bytes::new(), end, complete });
        }
        let path = self.path(id);
        let read = move || {
            let mut data = vec![0; usize::try_from(length).unwrap_or(0)];
            let read = File::open(&path).and_then(|file| file.read_exact_at(&mut data, offset));
            read.map(|()| data).map_err(|e| unreadable(id, &e))
        };
        let data = self.beside(read).await??;
        Ok(OutputPiece { data: data.into(), end, complete })
    }

    /// Does something that may wait for a disk, away from the runtime.
    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
        if self.inline {
            return Ok(work());
        }
        let gone = |e| StoreError::Unavailable(format!("reading was ended: {e}"));
        tokio::task::spawn_blocking(work).await.map_err(gone)
    }

    /// How much may be shown; none where that is not known without looking.
    fn decided(&self, id: OperationId, extent: &Extent) -> Option<u64> {
        let Some((attempt, base)) = extent.open.filter(|(_, base)| *base < extent.end) else { return Some(extent.end) };
        let log = lock(&self.logs).get(&id).cloned()?;
        let decided = lock(&log.decided).filter(|(decided, _)| *decided == attempt);
        decided.map(|(_, place)| place.clamp(base, extent.end))
    }

    /// How much may be shown of a run that nothing was written of since the start.
    fn look_back(&self, id: OperationId, extent: &Extent) -> Result<u64, StoreError> {
        let Some((attempt, base)) = extent.open else { return Ok(extent.end) };
        let file = File::open(self.path(id)).map_err(|e| unreadable(id, &e))?;
        let masking = Masking::resume(&file, attempt, base, extent.end - base).map_err(|e| unreadable(id, &e))?;
        Ok(masking.decided().1)
    }

    /// The worker: writes what waits until nothing waits.
    fn drain(&self, operation: OperationId, log: &Log) {
        loop {
            let mut pieces = {
                let mut queue = lock(&log.queue);
                queue.busy = !queue.pieces.is_empty();
                std::mem::take(&mut queue.pieces)
            };
            if pieces.is_empty() {
                return;
            }
            // Callers race into the queue; in the order of offsets most pieces have no gap.
            pieces.sort_by_key(|piece| (piece.run, piece.offset));
            while !pieces.is_empty() {
                let run = pieces[0].run;
                let rest = pieces.split_off(pieces.partition_point(|piece| piece.run == run));
                let stored = self.store(operation, log, run, &pieces);
                for piece in std::mem::replace(&mut pieces, rest) {
                    let _gone = piece.reply.send(stored.clone());
                }
            }
        }
    }

    /// Writes pieces of one run, in the order of their offsets.
    fn store(
        &self,
        operation: OperationId,
        log: &Log,
        run: (AgentId, AttemptId, Fence),
        pieces: &[Piece],
    ) -> Result<OutputAppended, StoreError> {
        let Some(held) = self.readers.point(|db| admitted(db, run))? else {
            if let [Piece { offset, data, now, .. }, ..] = pieces {
                let (offset, data, now) = (*offset, data.clone(), *now);
                self.writer.run_blocking(move |db| evidence::keep_output(db, run, offset, &data, now))?;
            }
            return Ok(OutputAppended::Closed);
        };
        let stored = match self.write((operation, run.1), log, &held, pieces) {
            Ok(stored) => stored,
            Err(fault) => {
                // Whatever the file descriptor remembers of the fault is not to be met again.
                *lock(&log.file) = None;
                return Err(fault.into());
            }
        };
        let open = stored == held.output_bytes
            || self.writer.run_blocking(move |db| advance(db, run, operation, &held, stored))?;
        Ok(if open { OutputAppended::Stored { stored, operation } } else { OutputAppended::Closed })
    }

    /// Brings the bytes to disk. Answers how many of the run are there, from its beginning.
    fn write(
        &self,
        (operation, attempt): (OperationId, AttemptId),
        log: &Log,
        held: &Held,
        pieces: &[Piece],
    ) -> Result<u64, Fault> {
        let (mut stored, path) = (held.output_bytes, self.path(operation));
        let mut slot = lock(&log.file);
        for piece in pieces {
            let Some(end) = piece.offset.checked_add(piece.data.len() as u64) else { continue };
            if piece.offset > stored || end <= stored {
                continue;
            }
            let appending = self.appending(&mut slot, (operation, attempt), held, stored)?;
            let fresh = usize::try_from(stored - piece.offset).unwrap_or(usize::MAX);
            appending.masking.write(&appending.file, &path, &piece.data[fresh..])?;
            stored = end;
        }
        match slot.as_ref() {
            Some(Appending { file, masking }) if stored > held.output_bytes => {
                fault::step(Step::Sync, &path)?;
                file.sync_data()?;
                *lock(&log.decided) = Some(masking.decided());
            }
            _ => {}
        }
        Ok(stored)
    }

    /// The operation's file, at the end of what is stored of this run.
    fn appending<'a>(
        &self,
        slot: &'a mut Option<Appending>,
        (operation, attempt): (OperationId, AttemptId),
        held: &Held,
        stored: u64,
    ) -> Result<&'a mut Appending, Fault> {
        let going_on = slot.take().filter(|appending| appending.masking.is_at(attempt, stored));
        let appending = match going_on {
            Some(appending) => appending,
            None => {
                let file = self.open(operation, held.output_offset + stored)?;
                let masking = Masking::resume(&file, attempt, held.output_offset, stored)?;
                Appending { file, masking }
            }
        };
        Ok(slot.insert(appending))
    }

    /// Opens an operation's file, which must hold what the database says.
    fn open(&self, operation: OperationId, durable: u64) -> Result<File, Fault> {
        let path = self.path(operation);
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        if let Some(folder) = path.parent().filter(|_| durable == 0) {
            files::make_dir(folder)?;
            fault::step(Step::Create, &path)?;
            let file = options.create(true).truncate(false).open(&path)?;
            files::sync_dir(folder)?;
            return Ok(file);
        }
        let short = |length: u64| {
            Fault::Damaged(format!("output of operation {operation}: {durable} bytes are recorded, {length} are there"))
        };
        let file = options.open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => short(0),
            _ => Fault::Output(e),
        })?;
        let length = file.metadata()?.len();
        if length < durable { Err(short(length)) } else { Ok(file) }
    }

    fn path(&self, operation: OperationId) -> PathBuf {
        self.dir.join(file_of(operation))
    }

    fn log(&self, operation: OperationId) -> Arc<Log> {
        let mut logs = lock(&self.logs);
        let log = Arc::clone(logs.entry(operation).or_default());
        log.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        while logs.len() > OPEN_FILES {
            // One that somebody uses stays: two workers on one file would not know of each other.
            let unused = logs.iter().filter(|(_, log)| Arc::strong_count(log) == 1);
            let oldest = unused.min_by_key(|(_, log)| log.used.load(Ordering::Relaxed)).map(|(id, _)| *id);
            match oldest {
                Some(id) => drop(logs.remove(&id)),
                None => break,
            }
        }
        log
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The attempt, when this agent may append to its output.
fn admitted(db: &Connection, (agent, attempt, fence): (AgentId, AttemptId, Fence)) -> Result<Option<Held>, Fault> {
    Ok(attempts::read(db, attempt)?.filter(|held| held.is_of(agent, fence) && held.state.locks()))
}

/// Commits a new length, if the attempt is still open and nobody else moved it.
fn advance(
    db: &Connection,
    run: (AgentId, AttemptId, Fence),
    operation: OperationId,
    before: &Held,
    stored: u64,
) -> Result<bool, Fault> {
    let now = admitted(db, run)?.filter(|held| held.output_bytes == before.output_bytes);
    if now.is_none() {
        return Ok(false);
    }
    let sql = "UPDATE attempts SET output_bytes = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(run.1), int(stored)?])?;
    let sql = "UPDATE operations SET output_bytes = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![key(operation), int(before.output_offset + stored)?])?;
    Ok(true)
}

/// How far an operation's output goes.
fn extent(db: &Connection, id: OperationId) -> Result<Extent, Fault> {
    let mut select = db.prepare_cached(
        "SELECT o.output_bytes, o.state, a.id, a.output_offset FROM operations o LEFT JOIN attempts a \
             ON a.operation = o.id AND a.state IN ('leased', 'started', 'unknown') \
         WHERE o.id = ?1 ORDER BY a.output_offset DESC LIMIT 1",
    )?;
    let read = |row: &Row<'_>| {
        let state: OperationState = rows::word(row, 1)?;
        let is_open = row.get::<_, Option<String>>(2)?.is_some();
        let open = if is_open { Some((rows::word(row, 2)?, rows::count(row, 3)?)) } else { None };
        Ok(Extent { end: rows::count(row, 0)?, complete: state.is_terminal() && !is_open, open })
    };
    // Of an operation that is not there, nothing will ever come.
    let nothing = Extent { end: 0, complete: true, open: None };
    Ok(select.query_row([key(id)], read).optional()?.unwrap_or(nothing))
}

fn unreadable(id: OperationId, error: &std::io::Error) -> StoreError {
    StoreError::Damaged(format!("output of operation {id}: {error}"))
}
