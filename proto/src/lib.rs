//! Wire types between controller and agent, and their conversions to the domain.
//!
//! - [`v1`]: generated from `proto/cratekube/agent/v1/agent.proto`.
//! - [`convert`]: `TryFrom` from the wire (which is hostile) and `From` to the wire.
//! - [`status`]: errors as tonic statuses, and back.

pub mod convert;
mod shown;
pub mod status;

/// Version 1 of the protocol.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    tonic::include_proto!("cratekube.agent.v1");
}

/// Longest message either side accepts: a spec with a thousand nodes is under 1 MiB.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;
/// Longest piece of output in one chunk.
pub const MAX_CHUNK_BYTES: usize = 256 * 1024;
