//! Identifiers: UUIDs, one type each, so that an attempt is never taken for a task.
//!
//! Minting needs a clock and randomness and is in `runtime::mint`, not here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! identifier {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Uuid::try_parse(text).map(Self).map_err(|_| format!("{text:?} is not a UUID"))
            }
        }
    )+};
}

identifier! {
    /// A cluster; outlives its name, which may be used again after removal.
    ClusterId,
    /// What a user asked for.
    OperationId,
    /// One piece of an operation's work.
    TaskId,
    /// One execution of a task; also names its run on the volume.
    AttemptId,
    /// An enrolled agent.
    AgentId,
    /// A state volume.
    VolumeId,
    /// One agent's live connection.
    SessionId,
    /// A question to an agent.
    QueryId,
    /// A look for orphans in the cloud.
    OrphanScanId,
    /// A join token (not the secret itself).
    JoinTokenId,
    /// An API key (not the secret itself).
    ApiKeyId,
    /// A revocation of tokens.
    RevocationId,
    /// A token of a user (`jti`).
    TokenId,
}
