//! Errors as gRPC statuses: one table for both directions.

use tonic::{Code, Status};

/// Metadata of a refusal whose client certificate has ended and may still be renewed.
pub const MAY_RENEW: &str = "may-renew";

/// What went wrong with a call, apart from its wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The message breaks the protocol.
    Malformed,
    /// No or no valid client certificate.
    Unauthenticated,
    /// The agent may not touch this.
    Forbidden,
    /// The attempt, lease or fence is not the current one.
    Stale,
    /// Too much, too fast.
    Exhausted,
    /// Try again later.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// Every refusal with its code and whether the same call may succeed later.
pub const TABLE: &[(Refusal, Code, bool)] = &[
    (Refusal::Malformed, Code::InvalidArgument, false),
    (Refusal::Unauthenticated, Code::Unauthenticated, false),
    (Refusal::Forbidden, Code::PermissionDenied, false),
    (Refusal::Stale, Code::FailedPrecondition, false),
    (Refusal::Exhausted, Code::ResourceExhausted, true),
    (Refusal::Unavailable, Code::Unavailable, true),
    (Refusal::Internal, Code::Internal, true),
];

impl Refusal {
    /// As a status with a sentence for the other side.
    pub fn status(self, message: impl Into<String>) -> Status {
        let code = TABLE.iter().find(|(refusal, ..)| *refusal == self).map_or(Code::Internal, |(_, code, _)| *code);
        Status::new(code, message)
    }
}

/// Whether the same call may succeed later.
#[must_use]
pub fn is_retryable(status: &Status) -> bool {
    let unknown_but_passing =
        matches!(status.code(), Code::Unknown | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted);
    TABLE.iter().find(|(_, code, _)| *code == status.code()).map_or(unknown_but_passing, |(_, _, retryable)| *retryable)
}
