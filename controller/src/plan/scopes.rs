//! Where managed resources may put objects, by environment. Pure.
//!
//! The scope of an environment is what the agent goes by. What a sender may use of it depends on who
//! asks: objects outside of namespaces give the power of an administrator of the cluster, so that only
//! administrators of the environment may send them, and only where the scope allows them at all.

use cratekube_common::domain::cluster::manifest::Scope;
use cratekube_common::domain::environment::{EnvironmentPattern, Role};
use cratekube_common::domain::name::EnvironmentName;

/// The scopes of all environments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes {
    /// What holds where no rule names the environment.
    pub default: Scope,
    /// Scopes of some environments; the first that names one holds for it.
    pub environments: Vec<(EnvironmentPattern, Scope)>,
}

impl Scopes {
    /// The scope of an environment.
    #[must_use]
    pub fn of(&self, environment: &EnvironmentName) -> &Scope {
        let named = self.environments.iter().find(|(pattern, _)| pattern.matches(environment));
        named.map_or(&self.default, |(_, scope)| scope)
    }

    /// What someone with a role may use of it.
    #[must_use]
    pub fn for_role(&self, environment: &EnvironmentName, role: Role) -> Scope {
        let scope = self.of(environment);
        Scope { cluster_scoped: scope.cluster_scoped && role >= Role::Admin, ..scope.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(namespace: &str, cluster_scoped: bool) -> Scope {
        Scope { namespaces: [namespace.to_owned()].into(), cluster_scoped }
    }

    #[test]
    fn the_first_scope_that_names_an_environment_holds_and_its_reach_is_for_administrators() {
        let scopes = Scopes {
            default: scope("workspace", false),
            environments: vec![
                ("lab-*".parse().unwrap(), scope("lab", true)),
                ("*".parse().unwrap(), scope("x", true)),
            ],
        };
        let lab = "lab-1".parse().unwrap();
        assert_eq!(scopes.of(&lab), &scope("lab", true));
        assert_eq!(scopes.for_role(&lab, Role::Operator), scope("lab", false));
        assert_eq!(scopes.for_role(&lab, Role::Admin), scope("lab", true));
        let none = Scopes::default();
        assert_eq!(none.for_role(&lab, Role::Admin), Scope::default(), "nothing outside of namespaces by default");
    }
}
