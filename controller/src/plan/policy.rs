//! What an environment's policy says of the `rke` that would run and of the images that it would pull.
//!
//! Without a rule everything is allowed, and everything that will be regretted is said as a warning.
//! A rehearsal builds nothing and is not judged. A removal is never refused: nobody is safer with a
//! cluster that cannot be taken down.

use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::name::EnvironmentName;
use cratekube_common::domain::run::RkeBinary;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::rke::catalogue::{Catalogue, Finding, Flaw, Images};

/// The rules of all environments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// What holds where no rule names the environment.
    pub default: Rule,
    /// Rules for some environments; the first that names one holds for it.
    pub environments: Vec<(EnvironmentPattern, Rule)>,
}

/// What is refused in an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rule {
    /// An `rke` that nobody mends any more.
    pub refuse_end_of_life: bool,
    /// An `rke` with a known hole.
    pub refuse_below_floor: bool,
    /// Images that need a subscription: allowed without a word, refused, or (when it is not said)
    /// allowed with a warning.
    pub allow_extended_life: Option<bool>,
}

impl Policy {
    /// The rule for an environment.
    #[must_use]
    pub fn rule(&self, environment: &EnvironmentName) -> Rule {
        let named = self.environments.iter().find(|(pattern, _)| pattern.matches(environment));
        named.map_or(self.default, |(_, rule)| *rule)
    }
}

/// What a policy says of a piece of work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it is refused; nothing when it is not.
    pub refused: Vec<String>,
    /// What will be regretted.
    pub warnings: Vec<String>,
}

/// Judges work that one of these `rke` would do. It is refused for their sake only when each of them
/// is: the controller gives work to any of them.
#[must_use]
pub fn judge(rule: Rule, candidates: &[RkeBinary], spec: Option<&ClusterSpec>, now: Timestamp) -> Verdict {
    let mut verdict = Verdict::default();
    let real: Vec<&RkeBinary> = candidates.iter().filter(|rke| !rke.rehearsal).collect();
    let judged: Vec<Vec<Finding>> = real.iter().map(|rke| Catalogue::get().findings(&rke.version, now)).collect();
    let refuses = |finding: &&Finding| match finding.flaw {
        Flaw::BelowFloor => rule.refuse_below_floor,
        Flaw::EndOfLife => rule.refuse_end_of_life,
        Flaw::Unknown => false,
    };
    let all_refused = !judged.is_empty() && judged.len() == candidates.len();
    let all_refused = all_refused && judged.iter().all(|findings| findings.iter().any(|f| refuses(&f)));
    for finding in judged.iter().flatten() {
        let list = if all_refused && refuses(&finding) { &mut verdict.refused } else { &mut verdict.warnings };
        if !list.contains(&finding.message) {
            list.push(finding.message.clone());
        }
    }
    if let Some(spec) = spec.filter(|spec| Catalogue::get().images(spec) == Images::Extended) {
        let message = format!(
            "the images of {} need a subscription to RKE's Extended Life: mirror them in a private registry that is the default, or choose a version whose images are public",
            spec.kubernetes_version
        );
        match rule.allow_extended_life {
            Some(true) => {}
            Some(false) => verdict.refused.push(message),
            None => verdict.warnings.push(message),
        }
    }
    verdict
}

/// What is to be said of every run of an `rke`.
#[must_use]
pub fn warnings(rke: Option<&RkeBinary>, now: Timestamp) -> Vec<String> {
    judge(Rule::default(), rke.map(std::slice::from_ref).unwrap_or_default(), None, now).warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::cluster::intake;
    use serde_json::json;

    const NOW: &str = "2026-11-25T12:00:00Z";

    fn rke(version: &str) -> RkeBinary {
        RkeBinary { version: version.into(), sha256: String::new(), rehearsal: version.contains("rehearsal") }
    }

    fn spec(version: &str, default_registry: bool) -> ClusterSpec {
        let document = json!({
            "kubernetes_version": version,
            "nodes": [{"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]}],
            "private_registries": [{"url": "r.example", "is_default": default_registry}],
        });
        intake::read(&document).unwrap().0
    }

    fn counts(rule: Rule, versions: &[&str]) -> (usize, usize) {
        let candidates: Vec<_> = versions.iter().map(|version| rke(version)).collect();
        let verdict = judge(rule, &candidates, None, NOW.parse().unwrap());
        (verdict.refused.len(), verdict.warnings.len())
    }

    #[test]
    fn without_a_rule_everything_is_allowed_and_said() {
        let none = Rule::default();
        assert_eq!(counts(none, &["v1.4.18"]), (0, 2));
        assert_eq!(counts(none, &["v1.8.14"]), (0, 1));
        assert_eq!(counts(none, &["v1.2.23-rehearsal"]), (0, 0));
        assert_eq!(counts(none, &[]), (0, 0), "nobody can tell");
        assert_eq!(warnings(Some(&rke("v1.8.14")), NOW.parse().unwrap()).len(), 1);
        assert!(warnings(None, NOW.parse().unwrap()).is_empty());
    }

    #[test]
    fn a_rule_refuses_what_it_names_when_no_other_rke_could_do_it() {
        let floor = Rule { refuse_below_floor: true, ..Rule::default() };
        assert_eq!(counts(floor, &["v1.4.18"]), (1, 1));
        assert_eq!(counts(floor, &["v1.8.14"]), (0, 1));
        assert_eq!(counts(floor, &["v1.4.18", "v1.8.14"]), (0, 3), "another agent may have it");
        assert_eq!(counts(floor, &["v1.4.18", "v1.2.23-rehearsal"]), (0, 2));
        let ended = Rule { refuse_end_of_life: true, ..Rule::default() };
        assert_eq!(counts(ended, &["v1.8.14"]), (1, 0));
        assert_eq!(counts(ended, &["v1.2.23-rehearsal"]), (0, 0));
    }

    #[test]
    fn images_that_need_a_subscription_are_named_allowed_or_refused() {
        let count = |allow_extended_life, spec: &ClusterSpec| {
            let rule = Rule { allow_extended_life, ..Rule::default() };
            let verdict = judge(rule, &[], Some(spec), NOW.parse().unwrap());
            (verdict.refused.len(), verdict.warnings.len())
        };
        let extended = spec("v1.32.13-rancher1-2", false);
        assert_eq!(count(None, &extended), (0, 1));
        assert_eq!(count(Some(true), &extended), (0, 0));
        assert_eq!(count(Some(false), &extended), (1, 0));
        assert_eq!(count(Some(false), &spec("v1.32.13-rancher1-2", true)), (0, 0), "mirrored");
        assert_eq!(count(Some(false), &spec("v1.32.5-rancher1-1", false)), (0, 0));
    }

    #[test]
    fn the_first_rule_that_names_an_environment_holds() {
        let strict = Rule { refuse_end_of_life: true, ..Rule::default() };
        let policy = Policy {
            default: strict,
            environments: vec![("lab-*".parse().unwrap(), Rule::default()), ("*".parse().unwrap(), strict)],
        };
        assert_eq!(policy.rule(&"lab-1".parse().unwrap()), Rule::default());
        assert_eq!(policy.rule(&"prod".parse().unwrap()), strict);
    }
}
