//! What needs attention, in made-up houses.

use cratekube_common::domain::agent::{AgentFacts, ScrubStatus};
use cratekube_common::domain::environment::EnvironmentPattern;
use uuid::Uuid;

use super::super::ca_rotation::Phase;
use super::*;

const DAY: i64 = 86_400_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn volume(id: u128) -> VolumeStatus {
    VolumeStatus {
        id: VolumeId(Uuid::from_u128(id)),
        path: "/mnt/state".into(),
        free_bytes: 500,
        total_bytes: 1_000,
        fault: None,
        reserve_bytes: Some(100),
        scrub: None,
    }
}

fn agent(id: u128, name: &str) -> Agent {
    Agent {
        id: AgentId(Uuid::from_u128(id)),
        name: name.parse().unwrap(),
        state: AgentState::Active,
        environments: EnvironmentPattern::any(),
        enrolled_at: at(0),
        certificate_serial: "ab".into(),
        certificate_not_after: at(20 * DAY),
        certificate_generation: 1,
        certificate_issuer: None,
        banned: false,
        facts: Some(AgentFacts {
            version: "1".into(),
            hostname: "h".into(),
            slots: 1,
            rke: None,
            kubernetes_versions: Vec::new(),
            volumes: vec![volume(id)],
        }),
        last_seen_at: Some(at(DAY)),
        clock_skew_ms: None,
        running: Vec::new(),
    }
}

fn record(id: u128, clusters: u64) -> VolumeRecord {
    let (id, agent) = (VolumeId(Uuid::from_u128(id)), AgentId(Uuid::from_u128(id)));
    VolumeRecord { id, agent, taken_at: at(0), clusters }
}

fn look(kept: &Attention, here: &[(u128, Here)], gathering: bool) -> Vec<(&'static str, Severity)> {
    let seen =
        |id: AgentId| here.iter().find(|(n, _)| AgentId(Uuid::from_u128(*n)) == id).map(|(_, here)| here.clone());
    let scene = Scene { kept, seen: &seen, own: &Own::default(), now: at(10 * DAY), all_agents: true, gathering };
    findings(&scene).into_iter().map(|finding| (finding.kind, finding.severity)).collect()
}

fn here(volumes: Vec<VolumeStatus>) -> Here {
    Here { clock_skew_ms: 0, volumes }
}

#[test]
fn where_all_is_well_nothing_needs_anybody() {
    let kept = Attention { agents: vec![agent(1, "a")], volumes: vec![record(1, 3)], ..Attention::default() };
    assert_eq!(look(&kept, &[(1, here(vec![volume(1)]))], false), []);
}

#[test]
fn an_agent_that_is_away_is_urgent_when_clusters_are_on_its_volumes() {
    let kept = Attention {
        agents: vec![agent(1, "a"), agent(2, "b")],
        volumes: vec![record(1, 0), record(2, 3)],
        ..Attention::default()
    };
    let expected = [("agent-offline", Severity::Critical), ("agent-offline", Severity::Warning)];
    assert_eq!(look(&kept, &[], false), expected);
}

#[test]
fn a_controller_that_was_just_started_says_that_it_does_not_know_yet() {
    let kept = Attention { agents: vec![agent(1, "a")], volumes: vec![record(1, 3)], ..Attention::default() };
    assert_eq!(look(&kept, &[], true), [("agent-not-back-yet", Severity::Info)]);
}

#[test]
fn volumes_are_judged_by_what_is_true_now() {
    let kept = Attention { agents: vec![agent(1, "a")], volumes: vec![record(1, 1)], ..Attention::default() };
    let judged = |change: fn(&mut VolumeStatus)| {
        let mut now = volume(1);
        change(&mut now);
        look(&kept, &[(1, here(vec![now]))], false)
    };
    assert_eq!(judged(|v| v.free_bytes = 99), [("volume-below-reserve", Severity::Critical)]);
    assert_eq!(judged(|v| (v.free_bytes, v.reserve_bytes) = (99, None)), [("volume-fills-up", Severity::Warning)]);
    assert_eq!(judged(|v| v.fault = Some("gone".into())), [("volume-not-served", Severity::Critical)]);
    let rot = |v: &mut VolumeStatus| {
        v.scrub = Some(ScrubStatus { ended_at: at(1), checked: 2, faults: vec!["x".into()] });
    };
    assert_eq!(judged(rot), [("volume-rot", Severity::Critical)]);
}

#[test]
fn a_volume_whose_agent_is_gone_is_told_and_an_empty_one_is_not() {
    let kept = Attention { volumes: vec![record(1, 2), record(2, 0)], ..Attention::default() };
    assert_eq!(look(&kept, &[], false), [("volume-without-agent", Severity::Critical)]);
}

#[test]
fn certificates_and_clocks_are_told_in_time() {
    let mut late = agent(1, "a");
    late.certificate_not_after = at(10 * DAY + 3_600_000);
    let kept = Attention { agents: vec![late], ..Attention::default() };
    let off = Here { clock_skew_ms: -61_000, ..here(Vec::new()) };
    let expected = [("agent-certificate", Severity::Warning), ("agent-clock", Severity::Warning)];
    assert_eq!(look(&kept, &[(1, off)], false), expected);
    let (kept, seen) = (Attention::default(), |_: AgentId| None);
    let told = |own: &Own| {
        findings(&Scene { kept: &kept, seen: &seen, own, now: at(10 * DAY), all_agents: true, gathering: false })
    };
    let found = told(&Own { ends: vec![("rest", at(12 * DAY)), (CA, at(900 * DAY))], rotation: None });
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].kind, &found[0].subject), ("controller-certificate", &Subject::Controller("rest".into())));
    let found = told(&Own { ends: vec![(CA, at(189 * DAY))], rotation: None });
    assert!(found[0].remedy.contains("cratekube ca rotate"), "half a year before, for every agent has to follow");
}

#[test]
fn hostile_row_39_a_rotation_of_the_ca_is_told_until_it_is_finished() {
    let (kept, seen) = (Attention::default(), |_: AgentId| None);
    let told = |rested: i64, rolled_back| {
        let (begun_at, changed_at) = (at(0), at((10 - rested) * DAY));
        let rotation = Some(Progress { phase: Phase::Switched, rolled_back, begun_at, changed_at });
        let own = Own { ends: Vec::new(), rotation };
        let now = at(10 * DAY);
        findings(&Scene { kept: &kept, seen: &seen, own: &own, now, all_agents: true, gathering: false }).remove(0)
    };
    assert_eq!((told(1, false).kind, told(1, false).severity), ("ca-rotation", Severity::Info));
    assert_eq!(told(4, false).severity, Severity::Warning);
    assert!(told(4, true).message.contains("was rolled back; it is `switched`"), "{}", told(4, true).message);
}

#[test]
fn certificates_of_clusters_are_told_a_month_before_they_end_and_are_urgent_in_the_last_week() {
    let of = |name: &str, end_at| ClusterCertificates {
        environment: "prod".parse().unwrap(),
        cluster: name.parse().unwrap(),
        end_at,
    };
    let certificates =
        vec![of("over", at(9 * DAY)), of("soon", at(16 * DAY)), of("later", at(39 * DAY)), of("far", at(41 * DAY))];
    let kept = Attention { certificates, ..Attention::default() };
    let told = ("cluster-certificates", Severity::Critical);
    assert_eq!(look(&kept, &[], false), [told, told, ("cluster-certificates", Severity::Warning)]);
}

#[test]
fn an_agent_that_is_set_aside_is_good_to_know_and_one_in_quarantine_is_urgent() {
    let state = |state| {
        let kept = Attention { agents: vec![Agent { state, ..agent(1, "a") }], ..Attention::default() };
        look(&kept, &[(1, here(Vec::new()))], false)
    };
    assert_eq!(state(AgentState::Draining), [("agent-takes-nothing", Severity::Info)]);
    assert_eq!(state(AgentState::Quarantined), [("agent-quarantined", Severity::Critical)]);
}
