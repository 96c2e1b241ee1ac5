//! What can go wrong with a cluster's API, in its own words, and what it means for a step.

use std::error::Error as _;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::visible;

/// Longest text of a server that is passed on.
const MAX_WORDS: usize = 2_000;

/// Why a request was not answered with what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ApiFault {
    /// The API refused.
    Refused(Box<Refusal>),
    /// There was no answer.
    Silent(String),
}

/// A refusal, as a Status object says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP's status.
    pub(super) code: u16,
    /// `NotFound`, `Conflict`, `Invalid`, …
    pub(super) reason: String,
    /// The API's own words.
    pub(super) message: String,
    /// Whether fields belong to another manager.
    pub(super) owned_by_others: bool,
}

impl ApiFault {
    /// Of the client's error.
    pub(super) fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                let owned = causes.into_iter().any(|cause| cause.reason == "FieldManagerConflict");
                Self::Refused(Box::new(Refusal {
                    code: status.code,
                    reason: reason(&status.reason, status.code),
                    message: words(&status.message),
                    owned_by_others: owned,
                }))
            }
            other => Self::Silent(words(&chain(&other))),
        }
    }

    /// True when the same request may be answered a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Silent(words) => !is_about_trust(words),
            Self::Refused(refusal) => {
                refusal.code >= 500
                    || refusal.code == 429
                    || refusal.code == 409 && !refusal.owned_by_others && refusal.reason != "AlreadyExists"
            }
        }
    }

    /// The refusal's reason, or `Unreachable`.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.reason,
            Self::Silent(_) => "Unreachable",
        }
    }

    /// The words of whoever said it.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.message,
            Self::Silent(words) => words,
        }
    }

    /// True when the API did not want to: a quota, a policy or a webhook said no.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self, Self::Refused(refusal) if matches!(refusal.code, 403 | 422))
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == 404)
    }

    /// What it means for a step that cannot go on; `doing` completes "could not …".
    pub(super) fn failure(&self, doing: &str) -> Failure {
        let message = format!("could not {doing}: {}", self.message());
        let failure = |class, retryable, remedy: &str| Failure {
            class,
            message: message.clone(),
            line: None,
            retryable,
            remedy: remedy.to_owned(),
        };
        match self {
            Self::Silent(words) if is_about_trust(words) => failure(
                FailureClass::State,
                false,
                "Another cluster, or something in between, answers at the address of the control plane: look who has the address, and whether the proxy in [kubernetes] opens TLS.",
            ),
            Self::Silent(_) => failure(
                FailureClass::Unreachable,
                true,
                "Look whether the bastion reaches port 6443 of the control plane, directly or through the proxy in [kubernetes], then retry.",
            ),
            Self::Refused(refusal) if matches!(refusal.code, 401 | 403) => failure(
                FailureClass::Auth,
                false,
                "The cluster does not accept its own administrator: recover its state, or rotate its certificates.",
            ),
            Self::Refused(_) => failure(
                FailureClass::ControlPlane,
                self.is_passing(),
                "Look at the logs of kube-apiserver and etcd on the control plane, then retry.",
            ),
        }
    }
}

fn reason(reason: &str, code: u16) -> String {
    match (reason, code) {
        ("" | "Failed to parse error data", 404) => "NotFound".to_owned(),
        ("" | "Failed to parse error data", code) => format!("Status{code}"),
        (reason, _) => words(reason),
    }
}

fn is_about_trust(words: &str) -> bool {
    words.contains("invalid peer certificate")
}

/// An error with everything that caused it, each said once.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Text of a server, bounded and harmless to look at.
fn words(text: &str) -> String {
    let text: String = text.chars().take(MAX_WORDS).collect();
    visible::visible(&text).into_owned()
}
