//! An object in the cloud, as far as a removal cares.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::spelled;
use crate::domain::time::Timestamp;

spelled! {
    /// What an object in the cloud is.
    pub enum CloudKind {
        /// A load balancer of the first kind (classic ELB).
        ClassicLoadBalancer = "classic_load_balancer",
        /// A load balancer of the second kind: application, network or gateway.
        LoadBalancer = "load_balancer",
        /// A port on which a load balancer of the second kind listens.
        Listener = "listener",
        /// A group of targets that load balancers send traffic to.
        TargetGroup = "target_group",
        /// A rule of a security group that names another security group.
        SecurityGroupRule = "security_group_rule",
        /// A security group.
        SecurityGroup = "security_group",
        /// A volume (EBS).
        Volume = "volume",
        /// A snapshot of a volume.
        Snapshot = "snapshot",
        /// An elastic IP address.
        ElasticIp = "elastic_ip",
        /// A network interface.
        NetworkInterface = "network_interface",
        /// A virtual machine. It is looked at and recorded, never deleted.
        Instance = "instance",
    }
}

/// What tells one object from every other in its account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectKey {
    /// What it is.
    pub kind: CloudKind,
    /// Its id as the cloud gives it: an id, an ARN, or the name of a classic load balancer.
    pub id: String,
}

/// An object as the cloud describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudObject {
    /// What it is.
    pub kind: CloudKind,
    /// Its id as the cloud gives it: an id, an ARN, or the name of a classic load balancer.
    pub id: String,
    /// The region it is in.
    pub region: String,
    /// What people call it: a name, a DNS name, an address. Proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// When it was made, where the cloud says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Ids of what it is attached to or is made of: the instance of a volume, the load balancers of a
    /// target group, the volume of a snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached_to: Vec<String>,
    /// Its size in GiB, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_gib: Option<u64>,
    /// Its sort within its kind, for its price: `gp3`, `network`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavour: Option<String>,
    /// How far it is in its life, where that matters: `pending`, `completed` or `error` of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// True when it goes with the instance it is attached to: a root volume, a first network interface.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_with_instance: bool,
}

impl CloudObject {
    /// What tells it from every other.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey { kind: self.kind, id: self.id.clone() }
    }

    /// A tag's value.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.get(key).map(String::as_str)
    }
}
