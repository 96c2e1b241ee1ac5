//! `[resources]`: where managed resources may put objects.
//!
//! The section itself holds for every environment; `[[resources.environments]]` has rules for some, the
//! first that names one holds. What such a rule does not say, it has from the section.

use std::collections::BTreeSet;

use cratekube_common::domain::cluster::manifest::Scope;
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::name::check_label;
use cratekube_common::intake::{Field, Object};

use crate::plan::scopes::Scopes;

/// More namespaces than a cluster is given to its users in.
const MAX_NAMESPACES: usize = 50;

/// The `[resources]` section.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// `namespaces` (made in every cluster, with accounts for its users), `cluster_scoped` and
    /// `environments`. One namespace, `workspace`, and nothing outside of it by default.
    pub scopes: Scopes,
}

impl Resources {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let Some(mut o) = at.object() else { return Self::default() };
        let default = scope(&mut o, &Scope::default());
        let items = o.field("environments").items().unwrap_or_default();
        let environments = items.iter().filter_map(|item| named(item, &default)).collect();
        o.finish();
        Self { scopes: Scopes { default, environments } }
    }
}

fn named(at: &Field<'_>, default: &Scope) -> Option<(EnvironmentPattern, Scope)> {
    let mut o = at.object()?;
    let environments = o.field("environments").required().parse();
    let scope = scope(&mut o, default);
    o.finish();
    Some((environments?, scope))
}

fn scope(o: &mut Object<'_>, default: &Scope) -> Scope {
    let namespaces = namespaces(&o.field("namespaces")).unwrap_or_else(|| default.namespaces.clone());
    let cluster_scoped = o.field("cluster_scoped").boolean().unwrap_or(default.cluster_scoped);
    Scope { namespaces, cluster_scoped }
}

fn namespaces(at: &Field<'_>) -> Option<BTreeSet<String>> {
    let items = at.items()?;
    if items.is_empty() || items.len() > MAX_NAMESPACES {
        at.error(format!("must hold 1 to {MAX_NAMESPACES} namespaces"));
    }
    let name = |item: &Field<'_>| {
        let text = item.string()?;
        let own = ["kube-system", "kube-public", "kube-node-lease", "ingress-nginx", "cattle-system"].contains(&text);
        if own {
            item.error("is the cluster's own: what lies there is not for its users");
        }
        item.check(check_label(text).map(|()| text.to_owned()))
    };
    Some(items.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::intake::Notes;
    use serde_json::{Value, json};

    fn read(document: &Value) -> (Scopes, Vec<String>) {
        let notes = Notes::default();
        let scopes = Resources::from_field(&Field::root(document, &notes)).scopes;
        (scopes, notes.into_faults().errors.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn a_rule_for_some_environments_has_the_rest_from_the_section() {
        let (scopes, faults) = read(&json!({
            "namespaces": ["shop", "batch"],
            "environments": [{"environments": "lab-*", "cluster_scoped": true}],
        }));
        assert!(faults.is_empty(), "{faults:?}");
        let lab = scopes.of(&"lab-1".parse().unwrap());
        assert!(lab.cluster_scoped && lab.namespaces.contains("batch"));
        assert!(!scopes.of(&"prod".parse().unwrap()).cluster_scoped);
        assert_eq!(read(&json!(null)).0, Scopes::default());
    }

    #[test]
    fn what_is_no_namespace_or_the_clusters_own_is_refused() {
        let (_, faults) = read(&json!({"namespaces": ["kube-system", "../x", 1], "environments": [{}]}));
        assert_eq!(faults, ["/namespaces/0", "/namespaces/1", "/namespaces/2", "/environments/0/environments"]);
        assert_eq!(read(&json!({"namespaces": []})).1, ["/namespaces"]);
    }
}
