//! Brings the output of runs to the controller, and lets a report go when its output is stored.
//!
//! One stream per session, for all runs, opened when the first run needs it. What to send next is
//! decided by [`Shelf`]; here are the files and the network. Nothing is kept over the end of a
//! session: the next one asks what is stored and goes on from there. Memory is bounded by the shelf's
//! window, which waits for the controller, and by one buffer for reading.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cratekube_common::domain::id::AttemptId;
use cratekube_common::domain::run::RunReport;
use cratekube_common::runtime::blocking::Blocking;
use cratekube_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_stream::{StreamExt, StreamMap};
use tonic::{Status, Streaming};

use super::channel::Connection;
use super::shelf::{Piece, Shelf};
use crate::metrics::Metrics;
use crate::port::{OutputLength, OutputSource};

/// Chunks that wait between reading and sending, so that the one overlaps the other.
const READ_AHEAD: usize = 2;

/// What the session asks of the outbox.
#[derive(Debug)]
pub(super) enum Order {
    /// Bring this run's output over.
    Stream(OutputSource),
    /// Let this report go when its output is stored.
    Report(Box<RunReport>),
    /// Nothing of this run is wanted any more.
    Forget(AttemptId),
}

/// The session's end of the outbox.
#[derive(Debug)]
pub(super) struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    /// Reports whose output is stored.
    pub(super) released: mpsc::UnboundedReceiver<Box<RunReport>>,
    /// Whether everything that is there is stored, and no report waits.
    pub(super) idle: watch::Receiver<bool>,
}

impl Handle {
    pub(super) fn order(&self, order: Order) {
        // The outbox lives as long as the session, which ends when the outbox does.
        let _session_is_ending = self.orders.send(order);
    }

    /// True when everything that is there is stored, and no report waits.
    pub(super) fn is_idle(&self) -> bool {
        *self.idle.borrow()
    }
}

/// The outbox of one session.
#[derive(Debug)]
pub(super) struct Outbox {
    orders: mpsc::UnboundedReceiver<Order>,
    released: mpsc::UnboundedSender<Box<RunReport>>,
    idle: watch::Sender<bool>,
    shelf: Shelf,
    lengths: StreamMap<AttemptId, WatchStream<OutputLength>>,
    reader: Reader,
    metrics: Metrics,
}

/// An outbox and the session's end of it.
pub(super) fn outbox(blocking: Blocking, metrics: Metrics) -> (Handle, Outbox) {
    let (orders, orders_in) = mpsc::unbounded_channel();
    let (released_out, released) = mpsc::unbounded_channel();
    let (idle_out, idle) = watch::channel(true);
    let outbox = Outbox {
        orders: orders_in,
        released: released_out,
        idle: idle_out,
        shelf: Shelf::default(),
        lengths: StreamMap::new(),
        reader: Reader { blocking, ..Reader::default() },
        metrics,
    };
    (Handle { orders, released, idle }, outbox)
}

impl Outbox {
    /// Works until the stream breaks.
    pub(super) async fn run(mut self, connection: &Connection) -> Status {
        let Some(first) = self.first_piece().await else {
            return Status::cancelled("the session is over");
        };
        let (chunks, chunks_out) = mpsc::channel(READ_AHEAD);
        let _there_is_room = chunks.try_send(first);
        match connection.link().output(ReceiverStream::new(chunks_out)).await {
            Ok(answers) => self.pump(&chunks, answers.into_inner()).await.err().unwrap_or_else(ended),
            Err(status) => status,
        }
    }

    /// Follows orders until a run needs the stream.
    async fn first_piece(&mut self) -> Option<v1::OutputChunk> {
        loop {
            let order = self.orders.recv().await?;
            self.follow(order);
            if let Some(piece) = self.shelf.next() {
                return Some(chunk(piece, Bytes::new()));
            }
        }
    }

    async fn pump(
        &mut self,
        chunks: &mpsc::Sender<v1::OutputChunk>,
        mut answers: Streaming<v1::OutputStored>,
    ) -> Result<(), Status> {
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(order) => self.follow(order),
                    None => return Ok(()),
                },
                Some((attempt, length)) = self.lengths.next(), if !self.lengths.is_empty() => {
                    self.shelf.grown(attempt, length);
                    self.settle();
                }
                answer = answers.message() => match answer? {
                    Some(answer) => self.answered(&answer),
                    None => return Ok(()),
                },
                permit = chunks.reserve(), if self.shelf.has_next() => match permit {
                    Ok(permit) => if let Some(chunk) = self.next_chunk().await { permit.send(chunk) },
                    Err(_) => return Ok(()),
                },
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Stream(source) => self.open(source),
            Order::Report(report) => {
                if let Err(report) = self.shelf.report(report) {
                    self.release(report);
                }
            }
            Order::Forget(attempt) => self.close(attempt),
        }
        self.settle();
    }

    fn open(&mut self, source: OutputSource) {
        let length = *source.length.borrow();
        if self.shelf.open(source.attempt, source.fence, length) {
            self.reader.paths.insert(source.attempt, source.path);
            self.lengths.insert(source.attempt, WatchStream::new(source.length));
        }
    }

    fn close(&mut self, attempt: AttemptId) {
        self.shelf.forget(attempt);
        self.lengths.remove(&attempt);
        self.reader.forget(attempt);
    }

    fn answered(&mut self, answer: &v1::OutputStored) {
        match answer.attempt.parse() {
            Ok(attempt) => {
                self.shelf.answered(attempt, answer.stored, answer.closed);
                self.settle();
            }
            Err(error) => tracing::warn!(%error, "the controller acknowledged output of a run without a name"),
        }
    }

    /// Lets reports go whose output is stored, and says whether anything is left to do.
    fn settle(&mut self) {
        for report in self.shelf.releasable() {
            let _session_is_ending = self.released.send(report);
        }
        let idle = self.shelf.is_idle();
        if idle {
            self.reader.rest();
        }
        self.idle.send_if_modified(|was| std::mem::replace(was, idle) != idle);
    }

    fn release(&self, report: Box<RunReport>) {
        let _session_is_ending = self.released.send(report);
    }

    async fn next_chunk(&mut self) -> Option<v1::OutputChunk> {
        let piece = self.shelf.next()?;
        if piece.bytes == 0 {
            return Some(chunk(piece, Bytes::new()));
        }
        match self.reader.read(piece).await {
            Ok(data) => {
                self.metrics.output_sent(data.len());
                Some(chunk(piece, data))
            }
            Err(error) => {
                tracing::error!(attempt = %piece.attempt, offset = piece.offset, %error, "output of a run cannot be read");
                self.shelf.unreadable(piece.attempt, piece.offset);
                self.settle();
                None
            }
        }
    }
}

fn chunk(piece: Piece, data: Bytes) -> v1::OutputChunk {
    v1::OutputChunk { attempt: piece.attempt.to_string(), fence: piece.fence.0, offset: piece.offset, data }
}

fn ended() -> Status {
    Status::unavailable("the controller ended the output stream")
}

/// Reads output files off the runtime's thread, into a buffer that is used again.
#[derive(Debug, Default)]
struct Reader {
    paths: HashMap<AttemptId, PathBuf>,
    files: HashMap<AttemptId, Arc<File>>,
    buffer: BytesMut,
    blocking: Blocking,
}

impl Reader {
    async fn read(&mut self, piece: Piece) -> io::Result<Bytes> {
        let file = self.files.get(&piece.attempt).map(Arc::clone);
        let path = self.paths.get(&piece.attempt).cloned().unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let work = move || {
            let file = file.map_or_else(|| File::open(path).map(Arc::new), Ok)?;
            buffer.resize(piece.bytes, 0);
            file.read_exact_at(&mut buffer, piece.offset)?;
            Ok::<_, io::Error>((file, buffer))
        };
        let (file, mut buffer) = self.blocking.run(work).await??;
        self.files.insert(piece.attempt, file);
        let data = buffer.split().freeze();
        self.buffer = buffer;
        Ok(data)
    }

    /// Gives the buffer back while there is nothing to read.
    fn rest(&mut self) {
        self.buffer = BytesMut::new();
    }

    fn forget(&mut self, attempt: AttemptId) {
        self.paths.remove(&attempt);
        self.files.remove(&attempt);
    }
}
