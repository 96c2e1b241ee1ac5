//! What an object costs in a month, by a table that can be replaced.

use std::collections::BTreeMap;
use std::path::Path;

use cratekube_common::domain::removal::{Cents, CloudObject};
use serde::Deserialize;

/// The table that comes with the agent.
const BUILT_IN: &str = include_str!("prices.toml");

/// A price table; `prices.toml` beside this file shows its form.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// What reports call it.
    pub name: String,
    /// Cents a month by kind, or by kind and flavour.
    #[serde(default)]
    monthly_cents: BTreeMap<String, f64>,
    /// Cents a month for each GiB, likewise.
    #[serde(default)]
    monthly_cents_per_gib: BTreeMap<String, f64>,
}

impl Prices {
    /// The table in a file, or the one that comes with the agent.
    ///
    /// # Errors
    /// A sentence when the file cannot be read or is no price table.
    pub fn load(file: Option<&Path>) -> Result<Self, String> {
        let Some(file) = file else { return Self::read(BUILT_IN) };
        let shown = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("cannot read the price table {shown}: {e}"))?;
        Self::read(&text).map_err(|why| format!("{shown} is no price table: {why}"))
    }

    fn read(text: &str) -> Result<Self, String> {
        let prices: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        let all = prices.monthly_cents.iter().chain(&prices.monthly_cents_per_gib);
        match all.into_iter().find(|(_, cents)| !cents.is_finite() || **cents < 0.0) {
            Some((key, cents)) => Err(format!("{key} = {cents} is no price")),
            None => Ok(prices),
        }
    }

    /// What an object costs in a month, rounded to a cent; nothing for what the table does not know.
    #[must_use]
    pub fn monthly(&self, object: &CloudObject) -> Cents {
        let each = self.look_up(&self.monthly_cents, object);
        #[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52 GiB")]
        let size = object.size_gib.unwrap_or(0) as f64;
        let cents = each + self.look_up(&self.monthly_cents_per_gib, object) * size;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be no less than zero")]
        let cents = cents.round() as Cents;
        cents
    }

    #[allow(clippy::unused_self, reason = "reads better at its calls")]
    fn look_up(&self, table: &BTreeMap<String, f64>, object: &CloudObject) -> f64 {
        let kind = object.kind.as_str();
        let special = object.flavour.as_ref().and_then(|flavour| table.get(&format!("{kind}.{flavour}")));
        special.or_else(|| table.get(kind)).copied().unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::object;
    use cratekube_common::domain::removal::CloudKind;

    #[test]
    fn the_table_that_comes_with_the_agent_prices_every_kind_that_costs() {
        let prices = Prices::load(None).unwrap();
        let sized = |flavour: &str, gib| CloudObject {
            size_gib: Some(gib),
            flavour: Some(flavour.into()),
            ..object(CloudKind::Volume, "v")
        };
        assert_eq!(prices.monthly(&sized("gp3", 100)), 800);
        assert_eq!(prices.monthly(&sized("sc1", 125)), 188, "rounded to a cent");
        assert_eq!(prices.monthly(&sized("new", 10)), 80, "an unknown flavour is priced by its kind");
        assert_eq!(prices.monthly(&object(CloudKind::ClassicLoadBalancer, "a")), 1825);
        assert_eq!(prices.monthly(&object(CloudKind::ElasticIp, "a")), 365);
        assert_eq!(prices.monthly(&object(CloudKind::SecurityGroup, "a")), 0);
    }

    #[test]
    fn the_table_can_be_replaced_and_a_wrong_one_is_refused_with_its_fault() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("p.toml");
        std::fs::write(&file, "name = \"ours\"\n[monthly_cents]\nelastic_ip = 1\n").unwrap();
        let prices = Prices::load(Some(&file)).unwrap();
        assert_eq!((prices.name.as_str(), prices.monthly(&object(CloudKind::ElasticIp, "a"))), ("ours", 1));
        for bad in ["", "name = 1", "name = \"x\"\nmore = 1", "name = \"x\"\n[monthly_cents]\na = -1.0"] {
            std::fs::write(&file, bad).unwrap();
            assert!(Prices::load(Some(&file)).unwrap_err().contains("p.toml"), "{bad:?}");
        }
        assert!(Prices::load(Some(&dir.path().join("none"))).unwrap_err().starts_with("cannot read"));
    }
}
