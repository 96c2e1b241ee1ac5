//! What a removal is to do, beyond that it removes.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CloudRecord, DataPolicy};

/// What the one who asks for a removal says, and the settings that hold for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovalWish {
    /// What becomes of volumes and snapshots.
    pub policy: DataPolicy,
    /// The hosts are about to be terminated: nobody cleans them.
    pub hosts_terminated: bool,
    /// Pause before the cloud is looked at again.
    pub confirm_pause: Duration,
    /// Days for which the last state of the cluster is kept.
    pub undelete_days: u32,
}

/// The options of a removal, as they are kept with the operation and as each of its steps reads them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalOptions {
    /// What becomes of volumes and snapshots.
    pub policy: DataPolicy,
    /// The hosts are about to be terminated: nobody cleans them.
    pub hosts_terminated: bool,
    /// Snapshots of etcd on the hosts stay: for every policy but `delete`.
    pub keep_snapshots: bool,
    /// Addresses of hosts that carry the cluster, or carried it: of its spec, and of the specs before.
    pub hosts: BTreeSet<String>,
    /// Fingerprint of its CA, as far as it is on record.
    pub ca_sha256: Option<String>,
    /// Pause before the cloud is looked at again, in seconds.
    pub confirm_pause_s: u64,
    /// Days for which the last state of the cluster is kept.
    pub undelete_days: u32,
    /// What earlier removals of the cluster recorded of its objects in the cloud.
    #[serde(default)]
    pub record: CloudRecord,
}

impl RemovalOptions {
    /// The options of a removal of a cluster.
    #[must_use]
    pub fn new(wish: &RemovalWish, hosts: BTreeSet<String>, ca_sha256: Option<String>, record: CloudRecord) -> Self {
        Self {
            policy: wish.policy,
            hosts_terminated: wish.hosts_terminated,
            keep_snapshots: wish.policy != DataPolicy::Delete,
            hosts,
            ca_sha256,
            confirm_pause_s: wish.confirm_pause.as_secs(),
            undelete_days: wish.undelete_days,
            record,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::removal::SweepInput;

    #[test]
    fn a_sweep_reads_its_policy_and_the_older_record_from_the_options() {
        let wish = RemovalWish {
            policy: DataPolicy::Snapshot,
            hosts_terminated: true,
            confirm_pause: Duration::from_secs(300),
            undelete_days: 30,
        };
        let record = CloudRecord { tag_names: ["web".to_owned()].into(), ..CloudRecord::default() };
        let options = RemovalOptions::new(&wish, ["10.0.0.1".to_owned()].into(), None, record.clone());
        assert!(options.keep_snapshots, "only `delete` takes snapshots away");
        let written = serde_json::to_value(&options).unwrap();
        assert_eq!(serde_json::from_value::<RemovalOptions>(written.clone()).unwrap(), options);
        let read = SweepInput::read(&written).unwrap();
        assert_eq!((read.policy, read.record, read.dry_run), (DataPolicy::Snapshot, record, false));
    }
}
