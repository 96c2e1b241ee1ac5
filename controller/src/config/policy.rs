//! `[policy]`: what is refused in which environment.
//!
//! The section itself is the rule for every environment; `[[policy.environments]]` has rules for some,
//! the first that names one holds. What such a rule does not say, it has from the section.

use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::intake::{Field, Object};

use crate::plan::policy::{Policy, Rule};

/// The `[policy]` section.
#[derive(Debug, Clone, Default)]
pub struct PolicySection {
    /// `refuse_end_of_life`, `refuse_below_floor`, `allow_extended_life` and `environments`. Nothing is
    /// refused by default: warnings say what will be regretted, and an operator decides.
    pub policy: Policy,
}

impl PolicySection {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let Some(mut o) = at.object() else { return Self::default() };
        let default = rule(&mut o, Rule::default());
        let items = o.field("environments").items().unwrap_or_default();
        let environments = items.iter().filter_map(|item| named(item, default)).collect();
        o.finish();
        Self { policy: Policy { default, environments } }
    }
}

fn named(at: &Field<'_>, default: Rule) -> Option<(EnvironmentPattern, Rule)> {
    let mut o = at.object()?;
    let environments = o.field("environments").required().parse();
    let rule = rule(&mut o, default);
    o.finish();
    Some((environments?, rule))
}

fn rule(o: &mut Object<'_>, default: Rule) -> Rule {
    Rule {
        refuse_end_of_life: o.field("refuse_end_of_life").boolean().unwrap_or(default.refuse_end_of_life),
        refuse_below_floor: o.field("refuse_below_floor").boolean().unwrap_or(default.refuse_below_floor),
        allow_extended_life: o.field("allow_extended_life").boolean().or(default.allow_extended_life),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::intake::Notes;
    use serde_json::json;

    #[test]
    fn a_rule_for_some_environments_has_the_rest_from_the_section() {
        let document = json!({
            "refuse_below_floor": true,
            "environments": [{"environments": "lab-*", "refuse_below_floor": false, "allow_extended_life": true}],
        });
        let notes = Notes::default();
        let policy = PolicySection::from_field(&Field::root(&document, &notes)).policy;
        assert!(notes.into_faults().is_acceptable());
        let rule = |environment: &str| policy.rule(&environment.parse().unwrap());
        assert_eq!(rule("prod"), Rule { refuse_below_floor: true, ..Rule::default() });
        assert_eq!(rule("lab-1"), Rule { allow_extended_life: Some(true), ..Rule::default() });
        let nothing = PolicySection::from_field(&Field::root(&json!(null), &Notes::default())).policy;
        assert_eq!(nothing, Policy::default());
    }
}
