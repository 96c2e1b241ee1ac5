//! Why a command did not do what was asked: named by what failed, with a remedy, and an exit code.

use std::io;

use super::exit::Exit;
use super::problem::Problem;

/// Why a command ended without its result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// A mistake on the command line, in a file or in the profile.
    #[error("{message}")]
    Usage {
        /// What is wrong; further lines are details.
        message: String,
        /// What to do.
        remedy: String,
    },
    /// The controller refused.
    #[error("{}", .0.title)]
    Refused(Box<Problem>),
    /// There was no answer.
    #[error("cannot reach the controller at {address}: {reason}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// Why there is no connection.
        reason: String,
    },
    /// The request went out; whether it arrived is not known.
    #[error("the controller at {address} did not answer: {reason}")]
    Unanswered {
        /// Where it is.
        address: String,
        /// Why there is no answer.
        reason: String,
    },
    /// Whoever answers there is not to be trusted.
    #[error("whoever answers at {address} is not the controller that this profile trusts: {reason}")]
    Untrusted {
        /// Where.
        address: String,
        /// Why not.
        reason: String,
    },
    /// What was named is not there.
    #[error("{0}")]
    Absent(String),
    /// The time that was given is over.
    #[error("{0}")]
    TooLate(String),
    /// The answer is not what a controller says.
    #[error("the answer of the controller cannot be read: {0}")]
    Odd(String),
    /// Something on this machine failed.
    #[error("cannot {doing}: {source}")]
    Local {
        /// What was being done.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Nobody reads standard output any more.
    #[error("standard output was closed")]
    Closed,
}

impl Fault {
    /// A mistake of the user.
    pub(super) fn usage(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), remedy: remedy.into() }
    }

    /// Something on this machine failed.
    pub(super) fn local(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Local { doing: doing.into(), source }
    }

    /// Its exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Local { .. } => Exit::Usage,
            Self::Refused(problem) => Exit::of_status(problem.status),
            Self::Unreachable { .. } | Self::Unanswered { .. } | Self::Untrusted { .. } => Exit::Unavailable,
            Self::TooLate(_) | Self::Odd(_) => Exit::Unavailable,
            Self::Absent(_) => Exit::NotFound,
            // `cratekube … | head` has done what was asked.
            Self::Closed => Exit::Done,
        }
    }

    /// What people read, line by line; the first is the fault itself.
    pub(super) fn lines(&self) -> Vec<String> {
        if let Self::Refused(problem) = self {
            return problem.lines();
        }
        let mut lines: Vec<String> = self.to_string().lines().map(ToOwned::to_owned).collect();
        lines.extend(self.remedy().map(|remedy| format!("what to do: {remedy}")));
        lines
    }

    fn remedy(&self) -> Option<String> {
        let text = match self {
            Self::Usage { remedy, .. } => remedy.as_str(),
            Self::Unreachable { .. } => {
                "Check the address, that the controller runs, and what stands between; `--timeout` says how long to go on trying."
            }
            Self::Unanswered { .. } => "Look whether it was done before you send it again: `cratekube operation list`.",
            Self::Untrusted { .. } => {
                "If its CA was rotated, or is not yours yet: ask the operator for it, and log in again with `--ca` or `--ca-fingerprint`."
            }
            Self::Odd(_) => {
                "Check that the address is a controller's and that client and controller are of like versions."
            }
            Self::Absent(_) => "Look at what there is with `list`.",
            Self::TooLate(_) | Self::Refused(_) | Self::Local { .. } | Self::Closed => "",
        };
        (!text.is_empty()).then(|| text.to_owned())
    }
}
