//! Exit codes: the outcome, for scripts. Stable.

use http::StatusCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// Done, or accepted where nothing was waited for.
    Done,
    /// The operation failed, or what was asked for did not come about.
    Failed,
    /// The command line, a file or the profile has a mistake.
    Usage,
    /// The controller refused the request: its content is not acceptable.
    Refused,
    /// There is no such thing, or one may not see it.
    NotFound,
    /// No valid credential, or no role for it.
    Denied,
    /// What is there does not allow it now.
    Conflict,
    /// No answer, no trustworthy answer, or not in time.
    Unavailable,
    /// The operation was cancelled.
    Cancelled,
    /// Ctrl-C while watching; the operation goes on.
    Detached,
}

/// What `--help` says about them.
pub(super) const HELP: &str = "\
Exit codes:
    0  done, or accepted where nothing was waited for
    1  the operation failed
    2  a mistake on the command line, in a file or in the profile
    3  the controller refused the request; every fault is named
    4  no such thing, or you may not see it
    5  no valid credential, or no role for it
    6  a conflict: what is there does not allow it now
    7  no answer from the controller, or not in time
    8  the operation was cancelled
  130  Ctrl-C while watching; the operation goes on";

impl Exit {
    /// The number.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotFound => 4,
            Self::Denied => 5,
            Self::Conflict => 6,
            Self::Unavailable => 7,
            Self::Cancelled => 8,
            Self::Detached => 130,
        }
    }

    /// What an answer that is no success means.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 | 403 => Self::Denied,
            404 | 410 => Self::NotFound,
            409 | 412 => Self::Conflict,
            408 | 429 | 500.. => Self::Unavailable,
            _ => Self::Refused,
        }
    }

    /// What the final state of an operation means.
    pub(super) fn of_operation(state: &str) -> Self {
        match state {
            "succeeded" => Self::Done,
            "cancelled" => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help_and_every_outcome_has_one() {
        use Exit::{Cancelled, Conflict, Denied, Detached, Done, Failed, NotFound, Refused, Unavailable, Usage};
        let all = [Done, Failed, Usage, Refused, NotFound, Denied, Conflict, Unavailable, Cancelled, Detached];
        let told: Vec<_> = HELP.lines().skip(1).map(|line| line[..5].trim().parse::<u8>().unwrap()).collect();
        assert_eq!(all.map(Exit::code).to_vec(), told);
        let of = |status: u16| Exit::of_status(StatusCode::from_u16(status).unwrap());
        assert_eq!([400, 413, 422].map(of), [Refused; 3]);
        assert_eq!([401, 403, 404, 409, 412].map(of), [Denied, Denied, NotFound, Conflict, Conflict]);
        assert_eq!([429, 500, 503].map(of), [Unavailable; 3]);
        assert_eq!(["succeeded", "failed", "cancelled"].map(Exit::of_operation), [Done, Failed, Cancelled]);
    }
}
