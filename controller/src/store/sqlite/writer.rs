//! The one writer: jobs that wait are committed together.
//!
//! Invariants: a job is answered only after the commit that holds it; a job that fails is undone
//! alone, by its savepoint; when the commit fails nobody is told that something was stored. After the
//! disk itself failed the writer stops: what the page cache holds then is not to be trusted.
//!
//! Before each commit the events in it get their time, and after it those who watch are told. Tests end
//! the process on either side of a commit: `store.commit.before` and `store.commit.after`, the latter
//! before anybody is answered.
//!
//! Two ways to execute: on an OS thread of its own, or on the caller (deterministic simulation).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cratekube_common::runtime::clock::Clock;
use cratekube_common::runtime::fault;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::events;
use super::fault::{Fault, is_disk_failure};
use crate::store::{Meters, StoreError};

/// Jobs that may wait; more wait in their callers.
const QUEUE: usize = 4_096;
/// Jobs in one commit: bounds how long the first of them waits for the last.
const BATCH: usize = 512;

/// Hands jobs to the connection that writes.
#[derive(Debug, Clone)]
pub(super) enum Writer {
    /// A thread owns the connection.
    Thread(mpsc::Sender<Message>),
    /// Whoever calls uses the connection.
    Inline(Arc<Mutex<Option<Connection>>>, Arc<Teller>),
}

/// Gives events their time, tells that there are some, and measures.
#[derive(Debug)]
pub(super) struct Teller {
    clock: Clock,
    told: watch::Sender<u64>,
    /// How it is written.
    pub(super) meters: Meters,
}

impl Teller {
    /// Tells by this clock.
    pub(super) fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, told: watch::channel(0).0, meters: Meters::default() })
    }

    #[allow(clippy::cast_precision_loss, reason = "a batch is small")]
    fn measure(&self, began: Duration, jobs: usize, done: bool) {
        self.meters.commit_seconds.observe(self.clock.monotonic().saturating_sub(began).as_secs_f64());
        self.meters.commit_jobs.observe(jobs as f64);
        if !done {
            self.meters.commits_failed.inc();
        }
    }

    /// Changes after each commit that has events in it.
    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

/// What the thread is told.
pub(super) enum Message {
    /// Do this.
    Job(Box<dyn Job>),
    /// Finish what waits, and end.
    Close(oneshot::Sender<()>),
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

/// Work for the writer, with someone who waits for its end.
pub(super) trait Job: Send {
    /// Does it, within a savepoint. False: undo it.
    fn run(&mut self, db: &Connection) -> bool;
    /// Tells the end, after the commit or its failure.
    fn answer(self: Box<Self>, commit: Result<(), &str>);
}

struct Verb<T, F> {
    work: Option<F>,
    result: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Verb<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, db: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(db));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, commit: Result<(), &str>) {
        let answer = match (commit, self.result) {
            (Ok(()), Some(result)) => result.map_err(StoreError::from),
            (Ok(()), None) => Err(StoreError::Unavailable("the job was not executed".into())),
            (Err(why), _) => Err(StoreError::Unavailable(why.to_owned())),
        };
        // Nobody waits any more: the change stands, as if the answer was lost on the way.
        let _gone = self.reply.send(answer);
    }
}

impl Writer {
    /// A writer on a thread of its own.
    pub(super) fn thread(db: Connection, teller: Arc<Teller>) -> Result<Self, StoreError> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("store-writer".into());
        let started = thread.spawn(move || serve(db, receiver, &teller));
        started.map(|_detached| Self::Thread(sender)).map_err(|e| StoreError::Open(format!("writer thread: {e}")))
    }

    /// A writer on whoever calls.
    pub(super) fn inline(db: Connection, teller: Arc<Teller>) -> Self {
        Self::Inline(Arc::new(Mutex::new(Some(db))), teller)
    }

    /// Does a piece of work in a transaction; answers when it is durable.
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (job, answer) = job(work);
        match self {
            Self::Thread(queue) => queue.send(Message::Job(job)).await.map_err(|_| closed())?,
            Self::Inline(db, teller) => execute(db, teller, job),
        }
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    /// The same for callers on threads that may block.
    pub(super) fn run_blocking<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (job, mut answer) = job(work);
        match self {
            Self::Thread(queue) => {
                queue.blocking_send(Message::Job(job)).map_err(|_| closed())?;
                answer.blocking_recv().unwrap_or_else(|_| Err(closed()))
            }
            Self::Inline(db, teller) => {
                execute(db, teller, job);
                answer.try_recv().unwrap_or_else(|_| Err(closed()))
            }
        }
    }

    /// Finishes what waits and closes the connection.
    pub(super) async fn close(&self) {
        match self {
            Self::Thread(queue) => {
                let (done, closed) = oneshot::channel();
                if queue.send(Message::Close(done)).await.is_ok() {
                    let _ended = closed.await;
                }
            }
            Self::Inline(db, _) => {
                let db = db.lock().unwrap_or_else(PoisonError::into_inner).take();
                db.iter().for_each(copy_log_in);
            }
        }
    }
}

fn job<T, F>(work: F) -> (Box<dyn Job>, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Box::new(Verb { work: Some(work), result: None, reply }), answer)
}

fn closed() -> StoreError {
    StoreError::Unavailable("it was closed, or its disk failed".into())
}

fn execute(db: &Mutex<Option<Connection>>, teller: &Teller, job: Box<dyn Job>) {
    let mut slot = db.lock().unwrap_or_else(PoisonError::into_inner);
    // Without a connection the job is dropped, and with it the sender of its answer.
    if let Some(connection) = slot.as_ref()
        && commit(connection, teller, vec![job]) == Health::Lost
    {
        *slot = None;
    }
}

fn serve(db: Connection, mut queue: mpsc::Receiver<Message>, teller: &Teller) {
    let mut closing = None;
    while let Some(first) = queue.blocking_recv() {
        let mut jobs = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Close(done) => {
                    queue.close();
                    closing = Some(done);
                }
            }
            next = if jobs.len() < BATCH { queue.try_recv().ok() } else { None };
        }
        if !jobs.is_empty() && commit(&db, teller, jobs) == Health::Lost {
            break;
        }
    }
    copy_log_in(&db);
    drop(db);
    if let Some(done) = closing {
        let _gone = done.send(());
    }
}

/// Empties the log into the database, so that a restart has nothing to replay; readers that are still
/// there are not waited for.
fn copy_log_in(db: &Connection) {
    let copied = db
        .busy_timeout(std::time::Duration::ZERO)
        .and_then(|()| db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    // It is only sooner than the next writer would do it.
    let _best_effort = copied;
}

/// Whether the connection can be used on.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Good,
    Lost,
}

fn commit(db: &Connection, teller: &Teller, mut jobs: Vec<Box<dyn Job>>) -> Health {
    let began = teller.clock.monotonic();
    let done = transact(db, teller, &mut jobs);
    teller.measure(began, jobs.len(), done.is_ok());
    let why = done.as_ref().err().map(ToString::to_string);
    if why.is_some() && !db.is_autocommit() {
        let _already_gone = db.execute_batch("ROLLBACK");
    }
    if let Ok(true) = done {
        teller.told.send_modify(|version| *version += 1);
    }
    for job in jobs {
        job.answer(why.as_deref().map_or(Ok(()), Err));
    }
    match done {
        Err(error) if is_disk_failure(&error) || !db.is_autocommit() => Health::Lost,
        _ => Health::Good,
    }
}

/// Does the jobs and commits; says whether there are events in it.
fn transact(db: &Connection, teller: &Teller, jobs: &mut [Box<dyn Job>]) -> Result<bool, rusqlite::Error> {
    let step = |sql: &str| db.prepare_cached(sql)?.execute([]);
    step("BEGIN IMMEDIATE")?;
    for job in jobs {
        step("SAVEPOINT job")?;
        if !job.run(db) {
            if db.is_autocommit() {
                return Err(ended());
            }
            step("ROLLBACK TO job")?;
        }
        step("RELEASE job")?;
    }
    let happened = events::stamp(db, teller.clock.now())?;
    fault::point("store.commit.before");
    step("COMMIT")?;
    fault::point("store.commit.after");
    Ok(happened)
}

/// A full disk or a failed read within a job may make SQLite end the whole transaction.
fn ended() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK);
    rusqlite::Error::SqliteFailure(code, Some("a fault ended the transaction of all that were written with it".into()))
}
