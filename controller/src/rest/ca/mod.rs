//! `/v1/admin/ca`, `/ca.pem`: the CA of this service, and the rotation of its root.

mod pem;
mod show;
mod step;

pub(super) use pem::{__path_pem, pem};
pub(super) use show::{__path_show, show};
pub(super) use step::{
    __path_finish, __path_roll_back, __path_rotate, __path_switch, finish, roll_back, rotate, switch,
};

use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use super::state::RestState;
use crate::pki::authority::{AuthorityNow, RootNow};
use crate::service::agents::AgentNow;

/// The CA as it is now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CertificateAuthority)]
pub(super) struct CaView {
    /// How far a rotation is: `none`, `introduced` (both are trusted, listeners show the old one), `switched` (both
    /// are trusted, listeners show the one that stays) or `finishing` (the old one is trusted no more, and its
    /// files are being removed).
    phase: &'static str,
    /// Whether the one that stays is the one from before the rotation.
    rolled_back: bool,
    /// When the rotation began.
    begun_at: Option<String>,
    /// When its phase last changed.
    changed_at: Option<String>,
    /// The roots, the one that stays first.
    roots: Vec<RootView>,
    /// Agents whose certificate is not from the root that stays; they take it over by themselves while they are
    /// connected. Those that have not when the rotation is finished are revoked and must be enrolled again. At most 100 are named;
    /// null where there is no rotation.
    behind: Option<Vec<BehindView>>,
}

/// A root of trust.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Root)]
pub(super) struct RootView {
    /// SHA-256 of its certificate, as join tokens and `login --ca-fingerprint` have it.
    sha256: String,
    key_algorithm: Option<&'static str>,
    expires_at: Option<String>,
    /// Whether it is the one that stays, which certifies agents when they renew.
    stays: bool,
    /// Whether the listeners' certificates are from it.
    shown: bool,
    /// Its certificate.
    pem: String,
}

/// An agent that has not taken the new root over.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AgentBehind)]
pub(super) struct BehindView {
    id: String,
    name: String,
    state: &'static str,
    online: bool,
    last_seen_at: Option<String>,
}

impl CaView {
    async fn of(state: &RestState, now: AuthorityNow) -> Result<Self, Problem> {
        let behind = match now.progress {
            None => None,
            Some(_) => Some(state.service.agents_behind(&now).await?.iter().map(BehindView::from).collect()),
        };
        let AuthorityNow { stays, goes, progress, shown } = now;
        let root = |root: RootNow, stays| RootView {
            shown: root.fingerprint == shown,
            sha256: root.fingerprint,
            key_algorithm: root.algorithm.map(KeyAlgorithm::as_str),
            expires_at: root.not_after.map(|at| at.to_string()),
            stays,
            pem: root.pem,
        };
        Ok(Self {
            phase: progress.map_or("none", |progress| progress.phase.as_str()),
            rolled_back: progress.is_some_and(|progress| progress.rolled_back),
            begun_at: progress.map(|progress| progress.begun_at.to_string()),
            changed_at: progress.map(|progress| progress.changed_at.to_string()),
            roots: std::iter::once(root(stays, true)).chain(goes.map(|goes| root(goes, false))).collect(),
            behind,
        })
    }
}

impl From<&AgentNow> for BehindView {
    fn from(AgentNow { agent, seen, .. }: &AgentNow) -> Self {
        let last_seen = seen.as_ref().map(|seen| seen.last_seen_at).max(agent.last_seen_at);
        Self {
            id: agent.id.to_string(),
            name: agent.name.to_string(),
            state: agent.state.as_str(),
            online: seen.is_some(),
            last_seen_at: last_seen.map(|at| at.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
