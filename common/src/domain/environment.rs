//! Environments and the patterns that name sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::name::{EnvironmentName, check_label};
use super::spelled;

/// Which environments: `*`, a name, or a prefix such as `team-*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentPattern(String);

impl EnvironmentPattern {
    /// Every environment.
    #[must_use]
    pub fn any() -> Self {
        Self("*".into())
    }

    /// True for `*`.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }

    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when the environment is one of those named.
    #[must_use]
    pub fn matches(&self, environment: &EnvironmentName) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => environment.as_str().starts_with(prefix),
            None => self.0 == environment.as_str(),
        }
    }
}

impl fmt::Display for EnvironmentPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for EnvironmentPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let fault =
            || format!("{text:?} is not an environment pattern: use a name (`prod`), a prefix (`team-*`) or `*`");
        let stem = text.strip_suffix('*').unwrap_or(text);
        // A prefix may end in '-', which a whole name may not.
        let label = if stem.len() < text.len() { stem.trim_end_matches('-') } else { stem };
        if text != "*" && check_label(label).is_err() {
            return Err(fault());
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for EnvironmentPattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EnvironmentPattern> for String {
    fn from(pattern: EnvironmentPattern) -> String {
        pattern.0
    }
}

spelled! {
    /// What a subject may do in an environment; each includes the ones before it.
    pub enum Role {
        /// Look.
        Viewer = "viewer",
        /// Create, change and remove clusters.
        Operator = "operator",
        /// Agents, tokens, forced actions; on `*` also the admin endpoints.
        Admin = "admin",
    }
}

/// A role in the environments that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What may be done.
    pub role: Role,
    /// Where.
    pub environments: EnvironmentPattern,
}

/// The strongest role that the grants give in an environment.
#[must_use]
pub fn role_in(grants: &[Grant], environment: &EnvironmentName) -> Option<Role> {
    grants.iter().filter(|g| g.environments.matches(environment)).map(|g| g.role).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> EnvironmentName {
        name.parse().unwrap()
    }

    #[test]
    fn patterns_match_names_prefixes_and_all() {
        let pattern = |p: &str| p.parse::<EnvironmentPattern>().unwrap();
        assert!(pattern("*").matches(&env("prod")));
        assert!(pattern("team-*").matches(&env("team-a")));
        assert!(!pattern("team-*").matches(&env("prod")));
        assert!(pattern("prod").matches(&env("prod")));
        assert!(!pattern("prod").matches(&env("prod2")));
        for bad in ["", "**", "a*b", "-*", "A*", "../*"] {
            assert!(bad.parse::<EnvironmentPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_strongest_matching_grant_counts() {
        let grant = |role, p: &str| Grant { role, environments: p.parse().unwrap() };
        let grants = [grant(Role::Viewer, "*"), grant(Role::Operator, "team-*")];
        assert_eq!(role_in(&grants, &env("team-a")), Some(Role::Operator));
        assert_eq!(role_in(&grants, &env("prod")), Some(Role::Viewer));
        assert_eq!(role_in(&grants[1..], &env("prod")), None);
    }
}
