//! Output of runs: chunks in by offset, "so much is stored" out. Acknowledged only when durable.
//!
//! Chunks of one stream are stored in order; what arrived meanwhile for the same run is stored with
//! one write, so that the disk and not the round trip sets the pace.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::id::AttemptId;
use cratekube_common::runtime::fault;
use cratekube_proto::MAX_CHUNK_BYTES;
use cratekube_proto::convert::parse;
use cratekube_proto::status::Refusal;
use cratekube_proto::v1;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::peer::{self, Caller};
use super::{GrpcState, foreign, sizes, store_status};
use crate::store::OutputAppended;

/// Bytes stored with one write at most.
const MAX_WRITE: usize = 2 * 1024 * 1024;
const OUTBOUND: usize = 64;
/// Longest wait for an agent to take an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest wait for an agent to take the reason for its stream's end.
const FAREWELL: Duration = Duration::from_secs(5);

/// A chunk that was read and checked.
struct Chunk {
    attempt: AttemptId,
    fence: Fence,
    offset: u64,
    data: Bytes,
}

/// Opens a stream of output; answers come out of it.
pub fn open(
    state: GrpcState,
    caller: Caller,
    inbound: Streaming<v1::OutputChunk>,
) -> ReceiverStream<Result<v1::OutputStored, Status>> {
    let (outbound, stream) = mpsc::channel(OUTBOUND);
    tokio::spawn(async move {
        let stop = state.shutdown.soft.clone();
        let ended = stop.run_until_cancelled(async {
            tokio::select! {
                biased;
                ended = store_all(&state, &caller, inbound, &outbound) => ended,
                status = peer::ousted(&state, &caller) => Err(status),
            }
        });
        if let Some(Err(status)) = ended.await {
            let _peer_may_be_gone = outbound.send_timeout(Err(status), FAREWELL).await;
        }
    });
    ReceiverStream::new(stream)
}

async fn store_all(
    state: &GrpcState,
    caller: &Caller,
    mut inbound: Streaming<v1::OutputChunk>,
    outbound: &mpsc::Sender<Result<v1::OutputStored, Status>>,
) -> Result<(), Status> {
    let mut waiting = None;
    loop {
        let first = match waiting.take() {
            Some(chunk) => chunk,
            None => match inbound.next().await.transpose().map_err(sizes::of_stream)? {
                Some(wire) => read(wire)?,
                None => return Ok(()),
            },
        };
        let (chunk, next) = join(first, &mut inbound)?;
        waiting = next;
        let attempt = chunk.attempt;
        let answer = store(state, caller, chunk).await?;
        let (stored, closed) = answer.map_or((0, true), |stored| (stored, false));
        fault::point("output.stored");
        let answer = v1::OutputStored { attempt: attempt.to_string(), stored, closed };
        let gone = |_| Refusal::Unavailable.status("the agent is gone, or does not read");
        outbound.send_timeout(Ok(answer), PATIENCE).await.map_err(gone)?;
    }
}

/// Joins what has arrived already and follows without a gap; hands back a chunk that does not.
fn join(first: Chunk, inbound: &mut Streaming<v1::OutputChunk>) -> Result<(Chunk, Option<Chunk>), Status> {
    let mut pieces: Option<BytesMut> = None;
    let mut chunk = first;
    let mut length = chunk.data.len();
    let mut left_over = None;
    while length > 0 && length + MAX_CHUNK_BYTES <= MAX_WRITE {
        let Some(Some(next)) = inbound.next().now_or_never() else { break };
        let next = read(next.map_err(sizes::of_stream)?)?;
        let follows = next.attempt == chunk.attempt
            && next.fence == chunk.fence
            && chunk.offset.checked_add(length as u64) == Some(next.offset);
        if !follows {
            left_over = Some(next);
            break;
        }
        length += next.data.len();
        pieces.get_or_insert_with(|| BytesMut::from(&chunk.data[..])).extend_from_slice(&next.data);
    }
    if let Some(pieces) = pieces {
        chunk.data = pieces.freeze();
    }
    Ok((chunk, left_over))
}

async fn store(state: &GrpcState, caller: &Caller, chunk: Chunk) -> Result<Option<u64>, Status> {
    let Chunk { attempt, fence, offset, data } = chunk;
    let grew = !data.is_empty();
    state.metrics.output_received(data.len());
    let appended = state.store.append_output(caller.agent.id, attempt, fence, offset, data, state.clock.now()).await;
    match appended.map_err(|e| store_status(&e))? {
        OutputAppended::Stored { stored, operation } => {
            if grew {
                state.watch.announce(operation);
            }
            Ok(Some(stored))
        }
        OutputAppended::Closed => Ok(None),
        OutputAppended::Foreign => Err(foreign::foreign(state, caller, attempt).await),
    }
}

fn read(wire: v1::OutputChunk) -> Result<Chunk, Status> {
    if wire.data.len() > MAX_CHUNK_BYTES {
        return Err(Refusal::Exhausted.status(format!("a chunk has at most {MAX_CHUNK_BYTES} bytes")));
    }
    let attempt = parse("attempt", &wire.attempt)?;
    Ok(Chunk { attempt, fence: Fence(wire.fence), offset: wire.offset, data: wire.data })
}
