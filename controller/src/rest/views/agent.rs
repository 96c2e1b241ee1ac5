//! Agents as admins read them.

use cratekube_common::domain::agent::{AgentState, ScrubStatus, VolumeStatus};
use cratekube_common::domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::operation::RkeView;
use super::shown;
use crate::service::agents::AgentNow;

/// How far an agent's clock may be off before somebody is told; agents tell themselves at the same.
const TOLERATED_SKEW_MS: u64 = 300_000;

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agent)]
pub(in super::super) struct AgentView {
    id: String,
    name: String,
    /// What it may do: `active`, `cordoned`, `draining`, `quarantined` or `revoked`.
    state: &'static str,
    /// Whether its name and keys are barred from enrolling.
    banned: bool,
    /// Whether it is connected now.
    online: bool,
    /// True when it is `draining` and holds no run any more: it can go.
    drained: bool,
    /// Environments whose new clusters it may be given.
    environments: String,
    version: Option<String>,
    hostname: Option<String>,
    /// Address it is connected from.
    address: Option<String>,
    /// The `rke` it would run.
    rke: Option<RkeView>,
    /// What is to be known of it: a known hole, the end of its life.
    rke_warnings: Vec<String>,
    kubernetes_versions: Vec<String>,
    /// Attempts it executes at once.
    slots: Option<u32>,
    /// Of those, how many are free; only while it is online.
    free_slots: Option<u32>,
    /// One-minute load average of its host; only while it is online.
    load: Option<f64>,
    volumes: Vec<VolumeView>,
    /// Attempts it holds.
    running: Vec<String>,
    enrolled_at: String,
    connected_at: Option<String>,
    last_seen_at: Option<String>,
    /// Its clock minus the controller's.
    clock_skew_ms: Option<i64>,
    /// Both times, when the clocks are too far apart.
    clock_warning: Option<String>,
    certificate: CertificateView,
}

/// A state volume.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Volume)]
pub(super) struct VolumeView {
    id: String,
    path: String,
    free_bytes: u64,
    total_bytes: u64,
    /// Bytes that must be free beyond three copies of the state, or no run begins.
    reserve_bytes: Option<u64>,
    /// True when it has less.
    below_reserve: bool,
    /// Why it is not served.
    fault: Option<String>,
    /// What the last scrub found; none before the first.
    scrub: Option<ScrubView>,
}

/// What came of reading everything again that is sealed on a volume.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Scrub)]
pub(super) struct ScrubView {
    ended_at: String,
    /// Generations that were read.
    checked: u64,
    /// What is not as it was sealed. Service goes on; the state gate takes none of these.
    faults: Vec<String>,
}

/// An agent's certificate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Certificate)]
pub(super) struct CertificateView {
    serial: String,
    /// How many it had with this one.
    generation: u64,
    expires_at: String,
    /// SHA-256 of the CA that made it, as `/v1/admin/ca` names it; null when that was not kept yet.
    issuer: Option<String>,
}

impl From<&AgentNow> for AgentView {
    fn from(AgentNow { agent, seen, warnings }: &AgentNow) -> Self {
        let (facts, seen) = (agent.facts.as_ref(), seen.as_ref());
        let volumes = seen.map(|s| &s.volumes).or(facts.map(|f| &f.volumes));
        let last_seen = seen.map(|s| s.last_seen_at).max(agent.last_seen_at);
        let clock_skew_ms = seen.map(|s| s.clock_skew_ms).or(agent.clock_skew_ms);
        Self {
            id: agent.id.to_string(),
            name: agent.name.to_string(),
            state: agent.state.as_str(),
            banned: agent.banned,
            online: seen.is_some(),
            drained: agent.state == AgentState::Draining && agent.running.is_empty(),
            environments: agent.environments.to_string(),
            version: facts.map(|f| shown(&f.version)),
            hostname: facts.map(|f| shown(&f.hostname)),
            address: seen.map(|s| shown(&s.address)),
            rke: facts.and_then(|f| f.rke.as_ref()).map(RkeView::from),
            rke_warnings: warnings.iter().map(|w| shown(w)).collect(),
            kubernetes_versions: facts.into_iter().flat_map(|f| &f.kubernetes_versions).map(|v| shown(v)).collect(),
            slots: facts.map(|f| f.slots),
            free_slots: seen.map(|s| s.free_slots),
            load: seen.map(|s| s.load),
            volumes: volumes.into_iter().flatten().map(VolumeView::from).collect(),
            running: agent.running.iter().map(ToString::to_string).collect(),
            enrolled_at: agent.enrolled_at.to_string(),
            connected_at: seen.map(|s| s.connected_at.to_string()),
            last_seen_at: last_seen.map(|at| at.to_string()),
            clock_skew_ms,
            clock_warning: last_seen.zip(clock_skew_ms).and_then(|(seen, skew)| clock_warning(seen, skew)),
            certificate: CertificateView {
                serial: agent.certificate_serial.clone(),
                generation: agent.certificate_generation,
                expires_at: agent.certificate_not_after.to_string(),
                issuer: agent.certificate_issuer.clone(),
            },
        }
    }
}

/// What is wrong with an agent's clock: certificates and logs stop making sense, leases do not mind.
fn clock_warning(here: Timestamp, skew_ms: i64) -> Option<String> {
    let there = Timestamp::from_millis(here.as_millis().saturating_add(skew_ms));
    let (seconds, way) = (skew_ms.unsigned_abs() / 1_000, if skew_ms > 0 { "ahead of" } else { "behind" });
    (skew_ms.unsigned_abs() > TOLERATED_SKEW_MS).then(|| {
        format!("its clock said {there} when it was {here} here: {seconds} s {way} the controller's; synchronise both")
    })
}

impl From<&VolumeStatus> for VolumeView {
    fn from(volume: &VolumeStatus) -> Self {
        Self {
            id: volume.id.to_string(),
            path: shown(&volume.path),
            free_bytes: volume.free_bytes,
            total_bytes: volume.total_bytes,
            reserve_bytes: volume.reserve_bytes,
            below_reserve: volume.below_reserve(),
            fault: volume.fault.as_deref().map(shown),
            scrub: volume.scrub.as_ref().map(ScrubView::from),
        }
    }
}

/// What the last scrub found.
pub(super) fn scrub(scrub: &ScrubStatus) -> ScrubView {
    ScrubView::from(scrub)
}

impl From<&ScrubStatus> for ScrubView {
    fn from(scrub: &ScrubStatus) -> Self {
        Self {
            ended_at: scrub.ended_at.to_string(),
            checked: scrub.checked,
            faults: scrub.faults.iter().map(|fault| shown(fault)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::agent::{Agent, AgentFacts};
    use cratekube_common::domain::environment::EnvironmentPattern;
    use cratekube_common::domain::id::{AgentId, SessionId, VolumeId};
    use cratekube_common::domain::run::RkeBinary;
    use uuid::Uuid;

    use super::*;
    use crate::service::presence::Seen;

    fn volume(free_bytes: u64) -> VolumeStatus {
        let id = VolumeId(Uuid::from_u128(7));
        let faults = vec!["/v/1: rot\u{1b}".to_owned()];
        let scrub = Some(ScrubStatus { ended_at: Timestamp::from_millis(9), checked: 3, faults });
        VolumeStatus { id, path: "/v".into(), free_bytes, total_bytes: 100, fault: None, reserve_bytes: Some(7), scrub }
    }

    fn agent() -> Agent {
        Agent {
            id: AgentId(Uuid::from_u128(1)),
            name: "bastion-1".parse().unwrap(),
            state: AgentState::Active,
            environments: EnvironmentPattern::any(),
            enrolled_at: Timestamp::from_millis(0),
            certificate_serial: "ab".into(),
            certificate_not_after: Timestamp::from_millis(86_400_000),
            certificate_generation: 2,
            certificate_issuer: None,
            banned: false,
            facts: Some(AgentFacts {
                version: "0.1.0".into(),
                hostname: "host\u{1b}[0m".into(),
                slots: 2,
                rke: Some(RkeBinary { version: "v1.5.0".into(), sha256: "cd".into(), rehearsal: true }),
                kubernetes_versions: vec!["v1.30.14-rancher1-1".into()],
                volumes: vec![volume(10)],
            }),
            last_seen_at: Some(Timestamp::from_millis(1000)),
            clock_skew_ms: Some(-3),
            running: Vec::new(),
        }
    }

    #[test]
    fn hostile_row_37_a_clock_that_is_off_is_told_with_both_times() {
        let here: Timestamp = "2026-11-23T22:00:00Z".parse().unwrap();
        let said = clock_warning(here, 600_000).unwrap();
        assert!(said.contains("22:10:00") && said.contains("22:00:00") && said.contains("600 s ahead"), "{said}");
        assert!(clock_warning(here, -600_000).unwrap().contains("21:50:00"));
        assert_eq!((clock_warning(here, 300_000), clock_warning(here, -300_000)), (None, None));
    }

    #[test]
    fn an_agent_is_shown_as_it_is_now_and_as_it_was_while_it_is_away() {
        let mut now = AgentNow { agent: agent(), seen: None, warnings: vec!["old".into()] };
        let away = serde_json::to_value(AgentView::from(&now)).unwrap();
        assert_eq!((&away["online"], &away["volumes"][0]["free_bytes"]), (&false.into(), &10.into()));
        assert_eq!((&away["hostname"], &away["clock_skew_ms"]), (&"host\\u{1b}[0m".into(), &(-3).into()));
        now.seen = Some(Seen {
            session: SessionId(Uuid::from_u128(2)),
            connected_at: Timestamp::from_millis(2000),
            last_seen_at: Timestamp::from_millis(3000),
            clock_skew_ms: 4,
            volumes: vec![volume(5)],
            free_slots: 1,
            load: 0.5,
            address: "10.0.0.9:1".into(),
        });
        insta::assert_json_snapshot!("agent", AgentView::from(&now));
    }
}
