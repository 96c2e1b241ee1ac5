//! What the steps of a removal that look at the cloud are given, and what recording hands on.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::CloudObject;
use crate::domain::spelled;

spelled! {
    /// What becomes of the data of a cluster that is removed: its volumes and their snapshots.
    pub enum DataPolicy {
        /// Volumes and snapshots are deleted.
        Delete = "delete",
        /// Volumes and snapshots stay.
        Retain = "retain",
        /// A last snapshot of each volume is taken, then the volume is deleted. Snapshots stay.
        Snapshot = "snapshot",
    }
}

/// What a cluster says of itself while it lives: ids without proof of what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnownToCluster {
    /// Host names that Services and Ingresses got from their load balancers.
    pub load_balancers: BTreeSet<String>,
    /// Volumes behind persistent volumes: `vol-…` or a path that ends in it (`aws://zone/vol-…`).
    pub volumes: BTreeSet<String>,
    /// Nodes' provider ids: `i-…` or a path that ends in it (`aws:///zone/i-…`).
    pub instances: BTreeSet<String>,
}

impl KnownToCluster {
    /// True when the cluster named nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.load_balancers.is_empty() && self.volumes.is_empty() && self.instances.is_empty()
    }
}

/// What was recorded of a cluster's objects in the cloud before anything was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudRecord {
    /// Names that stand for the cluster in tags: what follows `kubernetes.io/cluster/` on its own
    /// instances. Empty when they say nothing, or not all the same.
    pub tag_names: BTreeSet<String>,
    /// The objects that the cluster named, as the cloud describes them.
    pub objects: Vec<CloudObject>,
    /// What the cluster named and the cloud does not know (any more).
    pub missing: BTreeSet<String>,
    /// Why the cloud could not be asked; none when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<String>,
}

/// What a sweep, and the look afterwards, is given by the controller: these fields of the task's input, and
/// what recording found, under `earlier`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepInput {
    /// True when nothing may be changed: only what would go is listed.
    #[serde(default)]
    pub dry_run: bool,
    /// What becomes of volumes and snapshots. They stay where nothing is said.
    #[serde(default = "retain")]
    pub policy: DataPolicy,
    /// What was recorded by earlier operations, where they recorded something.
    #[serde(default)]
    pub record: CloudRecord,
    /// Further names that stand for the cluster in tags, which an admin vouches for. The cluster's id is
    /// always one.
    #[serde(default)]
    pub tag_names: BTreeSet<String>,
    /// Pause before looking again, in seconds; the agent's own setting when not given.
    #[serde(default)]
    pub confirm_pause_s: Option<u64>,
    /// True when the operation's own `record` step, or one of an earlier operation, asked the cluster and the
    /// cloud and heard everything.
    #[serde(skip)]
    pub recorded: bool,
}

fn retain() -> DataPolicy {
    DataPolicy::Retain
}

impl SweepInput {
    /// Reads the input of a task. What the operation's own `record` step found in the cloud is under
    /// `earlier.record.cloud`, and is laid over older records.
    ///
    /// # Errors
    /// A sentence when it is no input of a sweep.
    pub fn read(input: &Value) -> Result<Self, String> {
        let fault = |e: serde_json::Error| format!("the input of the sweep cannot be read: {e}");
        let fields = if input.is_null() { Value::Object(serde_json::Map::new()) } else { input.clone() };
        let mut read: Self = serde_json::from_value(fields).map_err(fault)?;
        if let Some(cloud) = input.pointer("/earlier/record/cloud").filter(|cloud| !cloud.is_null()) {
            read.record = read.record.with(serde_json::from_value(cloud.clone()).map_err(fault)?);
        }
        let says = |field: &str, wanted: Value| input.pointer(&format!("/earlier/record/{field}")) == Some(&wanted);
        read.recorded = says("state", "done".into()) || says("recorded_before", true.into());
        Ok(read)
    }

    /// Why nothing in the cloud could be told to be the cluster's, whatever is there: the cluster was not asked,
    /// and nobody says under which name it goes. None when something could.
    #[must_use]
    pub fn in_the_dark(&self) -> Option<String> {
        let knows = self.recorded
            || !self.record.objects.is_empty()
            || !self.record.tag_names.is_empty()
            || !self.tag_names.is_empty();
        (!knows).then(|| {
            let why = self.record.unverified.as_deref().unwrap_or("the cluster could not be asked what is its own");
            format!("neither objects of the cluster nor its name in tags are on record: {why}")
        })
    }
}

impl CloudRecord {
    /// This record with a newer one laid over it. Names count only when no record disagrees.
    #[must_use]
    pub fn with(mut self, newer: Self) -> Self {
        let agree = self.tag_names.is_empty() || newer.tag_names.is_empty() || self.tag_names == newer.tag_names;
        if agree {
            self.tag_names.extend(newer.tag_names);
        } else {
            self.tag_names.clear();
        }
        let known: BTreeSet<_> = newer.objects.iter().map(CloudObject::key).collect();
        self.objects.retain(|object| !known.contains(&object.key()));
        self.objects.extend(newer.objects);
        self.missing.extend(newer.missing);
        self.unverified = newer.unverified.or(self.unverified);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sweep_reads_its_policy_and_what_was_recorded_before_it() {
        let object = json!({"kind": "volume", "id": "vol-1", "region": "eu-central-1"});
        let older = json!({"kind": "volume", "id": "vol-0", "region": "eu-central-1"});
        let input = json!({
            "policy": "delete",
            "record": {"tag_names": ["web"], "objects": [older, object]},
            "earlier": {"freeze": {}, "record": {"resources": 3, "cloud": {"tag_names": ["web"], "objects": [object]}}},
        });
        let read = SweepInput::read(&input).unwrap();
        assert_eq!((read.policy, read.dry_run, read.record.objects.len()), (DataPolicy::Delete, false, 2));
        assert_eq!(read.record.tag_names, ["web".to_owned()].into());
        assert_eq!(
            SweepInput::read(&Value::Null).unwrap().policy,
            DataPolicy::Retain,
            "data stay where nothing is said"
        );
        assert!(SweepInput::read(&json!({"policy": "shred"})).is_err());
        assert_eq!(read.confirm_pause_s, None);
    }

    #[test]
    fn a_sweep_that_knows_neither_objects_nor_names_is_in_the_dark_unless_the_cluster_said_that_it_has_none() {
        let dark = |input: Value| SweepInput::read(&input).unwrap().in_the_dark();
        let nothing = json!({"tag_names": [], "objects": [], "missing": []});
        let record = |state: &str| json!({"earlier": {"record": {"state": state, "cloud": nothing}}});
        assert!(dark(json!({})).is_some() && dark(record("skipped")).is_some());
        let unverified = json!({"earlier": {"record": {"state": "unverified", "cloud": {"unverified": "no keys"}}}});
        assert!(dark(unverified).unwrap().ends_with("no keys"));
        assert_eq!(dark(record("done")), None);
        let before = json!({"earlier": {"record": {"state": "skipped", "recorded_before": true, "cloud": nothing}}});
        assert_eq!(dark(before), None, "it was heard before the cluster died");
        assert_eq!(dark(json!({"tag_names": ["prod-web"]})), None);
        assert_eq!(dark(json!({"record": {"tag_names": ["prod-web"]}})), None);
    }

    #[test]
    fn records_that_disagree_about_the_name_leave_none() {
        let named = |name: &str| CloudRecord { tag_names: [name.to_owned()].into(), ..CloudRecord::default() };
        assert!(named("a").with(named("b")).tag_names.is_empty());
        assert_eq!(named("a").with(CloudRecord::default()).tag_names.len(), 1);
    }
}
