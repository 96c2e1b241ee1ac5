//! What the hosts of a spec that is only planned are like: a question to the agent, and its answer.
//!
//! Nothing is changed on the hosts and nothing is kept. The same look stands before `rke` as a task of its
//! own; that one counts.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::spec::{ClusterSpec, Secrets};
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::secret::Secret;
use crate::domain::spelled;

/// Field of the question that holds the spec.
pub const SPEC: &str = "spec";

spelled! {
    /// How a look at one thing went.
    pub enum Grade {
        /// As it should be.
        Ok = "ok",
        /// RKE would go on; it will be regretted.
        Warning = "warning",
        /// RKE would fail, or build something that does not work.
        Failed = "failed",
    }
}

/// One thing that was looked at on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCheck {
    /// A stable word for programs: `ssh`, `docker`, `disk_etcd`, …
    pub name: String,
    /// How it went.
    pub result: Grade,
    /// What was found, in a sentence.
    pub detail: String,
    /// Class of the failure, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<FailureClass>,
    /// What to do, unless it is as it should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What was found on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostChecks {
    /// Its address in the spec.
    pub address: String,
    /// What was looked at; of a very large cluster only what failed.
    pub checks: Vec<HostCheck>,
}

/// What was found on all hosts of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHosts {
    /// Why RKE would not be begun; none when it would.
    pub failure: Option<Failure>,
    /// The hosts, in the order of the spec; none when nothing could be looked at.
    pub hosts: Vec<HostChecks>,
}

/// The question for a spec. Passwords have no part in it.
#[must_use]
pub fn question(spec: &ClusterSpec) -> Value {
    let mut spec = spec.clone();
    spec.private_registries.clear();
    json!({SPEC: spec.to_json(Secrets::Mask)})
}

impl PlannedHosts {
    /// As an agent answers.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!(self)
    }

    /// Reads what an agent answered about a spec with this many hosts.
    ///
    /// # Errors
    /// What is wrong with it, without quoting any of it.
    pub fn from_json(answer: &Secret, hosts: usize) -> Result<Self, String> {
        let read: Self = serde_json::from_str(answer.expose()).map_err(|fault| {
            format!("no findings of a preflight (line {}, column {})", fault.line(), fault.column())
        })?;
        // None when nothing could be looked at.
        if read.hosts.len() <= hosts { Ok(read) } else { Err("it is about more hosts than were asked for".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::cluster::intake;

    #[test]
    fn a_question_holds_the_hosts_and_no_password() {
        let (spec, _) = intake::read(&json!({
            "kubernetes_version": "v1.28.12-rancher1-1",
            "nodes": [{"address": "10.0.0.1", "roles": ["controlplane", "etcd"]}],
            "private_registries": [{"url": "r.example", "user": "u", "password": "canary"}],
        }))
        .unwrap();
        let question = question(&spec);
        assert_eq!(question["spec"]["nodes"][0]["address"], "10.0.0.1");
        assert_eq!(question["spec"]["private_registries"], json!([]));
        assert!(!question.to_string().contains("canary"));
        let again = intake::read(&question["spec"]).unwrap().0;
        assert_eq!(again.nodes, spec.nodes);
    }

    #[test]
    fn an_answer_comes_over_as_it_was_given_and_what_is_none_is_refused_without_quoting_it() {
        let check = HostCheck {
            name: "ssh".into(),
            result: Grade::Failed,
            detail: "port 22 refuses connections".into(),
            class: Some(FailureClass::Unreachable),
            remedy: Some("See that sshd runs.".into()),
        };
        let found =
            PlannedHosts { failure: None, hosts: vec![HostChecks { address: "10.0.0.1".into(), checks: vec![check] }] };
        let answer = Secret::new(found.to_json().to_string());
        assert_eq!(PlannedHosts::from_json(&answer, 1), Ok(found.clone()));
        assert!(PlannedHosts::from_json(&answer, 0).is_err());
        let fault = PlannedHosts::from_json(&Secret::new("{\"hosts\": \"canary\"}"), 1).unwrap_err();
        assert!(!fault.contains("canary"), "{fault}");
    }
}
