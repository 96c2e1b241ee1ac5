//! Who may have which task, and why a task has nobody yet.
//!
//! A cluster's work belongs to the agent that serves its state volume. A cluster that has no volume
//! yet may be given to any agent that is allowed its environment, and from then on stays there.

use std::collections::HashSet;
use std::time::Duration;

use cratekube_common::domain::agent::AgentState;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::{ClusterId, VolumeId};
use cratekube_common::domain::name::{AgentName, EnvironmentName};

/// True when an agent in this state may be given anything new.
#[must_use]
pub fn takes_work(state: AgentState) -> bool {
    state == AgentState::Active
}

/// The volume that a task would run on if this agent took it; none when it may not.
#[must_use]
pub fn volume_for(
    cluster_volume: Option<VolumeId>,
    environment: &EnvironmentName,
    allowed: &EnvironmentPattern,
    served: &[VolumeId],
) -> Option<VolumeId> {
    match cluster_volume {
        // Where its state is, the environment was allowed once.
        Some(volume) => served.contains(&volume).then_some(volume),
        None if allowed.matches(environment) => served.first().copied(),
        None => None,
    }
}

/// A task that could be leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Order of acceptance.
    pub seq: i64,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// Chooses at most `wanted` tasks: oldest first, one for each cluster.
#[must_use]
pub fn choose(mut candidates: Vec<Candidate>, wanted: usize) -> Vec<Candidate> {
    candidates.sort_by_key(|candidate| candidate.seq);
    let mut clusters = HashSet::new();
    candidates.retain(|candidate| clusters.insert(candidate.cluster));
    candidates.truncate(wanted);
    candidates
}

/// What is known about why a task has nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Another attempt holds the cluster.
    Locked,
    /// It is to be tried again.
    Retry {
        /// Attempts that ran.
        attempts: u32,
        /// How long after the last of them.
        wait: Duration,
    },
    /// A run of it is out of touch.
    Lost {
        /// The agent that has it.
        agent: AgentName,
    },
    /// The state volume is served by no agent that is enrolled.
    VolumeUnserved(VolumeId),
    /// The agent that serves the state volume.
    VolumeAgent {
        /// Its name.
        name: AgentName,
        /// What it may do.
        state: AgentState,
        /// Whether it is connected, as far as the asker knows.
        online: Option<bool>,
        /// Attempts it holds.
        running: u32,
        /// Attempts it executes at once.
        slots: u32,
    },
    /// A new cluster; whether an agent is enrolled that may have it.
    NewCluster {
        /// True when there is one.
        agent_enrolled: bool,
    },
}

/// Why an operation waits, in a sentence.
#[must_use]
pub fn waiting_for(environment: &EnvironmentName, waiting: &Waiting) -> String {
    match waiting {
        Waiting::Locked => "Another run holds the cluster; its end is not known yet.".into(),
        Waiting::Retry { attempts, wait } => {
            format!("Attempt {} begins {} s after the last one ended.", attempts + 1, wait.as_secs_f64().ceil())
        }
        Waiting::Lost { agent } => format!(
            "Its run is out of touch with agent {agent}, and its end is not known. The cluster stays locked until the \
             agent comes back, another one serves the state volume, or an administrator forces it (force-unlock)."
        ),
        Waiting::VolumeUnserved(volume) => {
            format!("No agent serves state volume {volume}: attach it to a bastion with an enrolled agent.")
        }
        Waiting::VolumeAgent { name, state, .. } if !takes_work(*state) => {
            format!("Agent {name}, which serves the cluster's state volume, is {state} and takes no new work.")
        }
        Waiting::VolumeAgent { name, online: Some(false), .. } => {
            format!("Agent {name}, which serves the cluster's state volume, is offline.")
        }
        Waiting::VolumeAgent { name, running, slots, .. } if *slots > 0 && running >= slots => {
            format!("All {slots} slots of agent {name} are busy.")
        }
        Waiting::VolumeAgent { name, .. } => format!("Agent {name} is to take it."),
        Waiting::NewCluster { agent_enrolled: false } => {
            format!("No agent is enrolled for environment {environment}: enrol one with a join token.")
        }
        Waiting::NewCluster { agent_enrolled: true } => {
            format!("An agent of environment {environment} that is online and has a free slot is to take it.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const A: VolumeId = VolumeId(Uuid::from_u128(1));
    const B: VolumeId = VolumeId(Uuid::from_u128(2));

    fn environment() -> EnvironmentName {
        "prod".parse().unwrap()
    }

    #[test]
    fn a_cluster_stays_where_its_state_is() {
        let other = "team-*".parse().unwrap();
        assert_eq!(volume_for(Some(B), &environment(), &other, &[A, B]), Some(B));
        assert_eq!(volume_for(Some(B), &environment(), &EnvironmentPattern::any(), &[A]), None);
        assert_eq!(volume_for(None, &environment(), &EnvironmentPattern::any(), &[B, A]), Some(B));
        assert_eq!(volume_for(None, &environment(), &other, &[A]), None);
        assert_eq!(volume_for(None, &environment(), &EnvironmentPattern::any(), &[]), None);
    }

    #[test]
    fn the_oldest_of_each_cluster_is_chosen() {
        let candidate = |seq, n| Candidate { seq, cluster: ClusterId(Uuid::from_u128(n)) };
        let chosen = choose(vec![candidate(5, 1), candidate(2, 1), candidate(9, 2), candidate(3, 3)], 2);
        assert_eq!(chosen, [candidate(2, 1), candidate(3, 3)]);
    }

    #[test]
    fn only_active_agents_take_work() {
        let takers: Vec<_> = AgentState::ALL.iter().filter(|state| takes_work(**state)).collect();
        assert_eq!(takers, [&AgentState::Active]);
    }

    #[test]
    fn every_reason_names_what_is_missing() {
        let agent = |state, online, running| Waiting::VolumeAgent {
            name: "bastion-a".parse().unwrap(),
            state,
            online,
            running,
            slots: 2,
        };
        let say = |waiting| waiting_for(&environment(), &waiting);
        assert!(say(Waiting::NewCluster { agent_enrolled: false }).contains("environment prod"));
        assert!(say(Waiting::VolumeUnserved(A)).contains(&A.to_string()));
        let retry = Waiting::Retry { attempts: 1, wait: Duration::from_millis(30_001) };
        assert_eq!(say(retry), "Attempt 2 begins 31 s after the last one ended.");
        assert!(say(Waiting::Lost { agent: "bastion-a".parse().unwrap() }).contains("agent bastion-a"));
        assert!(say(agent(AgentState::Cordoned, None, 0)).contains("is cordoned"));
        assert!(say(agent(AgentState::Active, Some(false), 0)).contains("is offline"));
        assert!(say(agent(AgentState::Active, Some(true), 2)).contains("All 2 slots of agent bastion-a"));
        assert!(say(agent(AgentState::Active, None, 1)).contains("bastion-a is to take it"));
    }
}
