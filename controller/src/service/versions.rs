//! Whether a Kubernetes version can be built: what the agents' `rke` offer decides. Pure.

use cratekube_common::domain::cluster::spec::KubernetesVersion;

/// How many versions are proposed instead.
const PROPOSED: usize = 5;

/// What is known of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionVerdict {
    /// An agent offers it.
    Offered,
    /// No agent has said what it offers yet: nobody can tell. In words, as a warning.
    Unchecked(String),
    /// No agent offers it. In words, with the nearest that are offered.
    NotOffered(String),
}

/// Judges a version by what is offered.
#[must_use]
pub fn judge(version: &KubernetesVersion, offered: &[String]) -> VersionVerdict {
    if offered.is_empty() {
        return VersionVerdict::Unchecked(format!(
            "{version} could not be checked: no agent has said yet which versions it can build"
        ));
    }
    if offered.iter().any(|o| o == version.as_str()) {
        return VersionVerdict::Offered;
    }
    let near = nearest(version, offered).join(", ");
    VersionVerdict::NotOffered(format!("{version} is not a version that an agent can build; the nearest are: {near}"))
}

fn nearest(wanted: &KubernetesVersion, offered: &[String]) -> Vec<String> {
    let (major, minor, patch) = wanted.numbers();
    let mut known: Vec<KubernetesVersion> = offered.iter().filter_map(|o| o.parse().ok()).collect();
    // Among equally near ones the newer comes first.
    known.sort_by(|a, b| b.numbers().cmp(&a.numbers()).then_with(|| b.cmp(a)));
    known.dedup();
    known.sort_by_key(|version| {
        let (a, b, c) = version.numbers();
        (a.abs_diff(major), b.abs_diff(minor), c.abs_diff(patch))
    });
    known.iter().take(PROPOSED).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_versions_are_proposed_newer_first() {
        let offered: Vec<String> = [29, 30, 31, 28, 27, 26, 25]
            .iter()
            .map(|minor| format!("v1.{minor}.4-rancher1-1"))
            .chain(["not a version".to_owned()])
            .collect();
        let judge = |v: &str| judge(&v.parse().unwrap(), &offered);
        assert_eq!(judge("v1.30.4-rancher1-1"), VersionVerdict::Offered);
        let VersionVerdict::NotOffered(words) = judge("v1.30.5-rancher1-1") else { panic!("offered") };
        assert!(
            words.ends_with(
                ": v1.30.4-rancher1-1, v1.31.4-rancher1-1, v1.29.4-rancher1-1, v1.28.4-rancher1-1, v1.27.4-rancher1-1"
            ),
            "{words}"
        );
    }

    #[test]
    fn while_no_version_is_known_nobody_can_tell() {
        let verdict = judge(&"v1.30.4-rancher1-1".parse().unwrap(), &[]);
        assert!(matches!(verdict, VersionVerdict::Unchecked(_)));
    }
}
