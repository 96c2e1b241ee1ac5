//! Whose is it? What the tags of an object say, and whether that proves that it belongs to a cluster.
//!
//! | tag | says |
//! |---|---|
//! | `kubernetes.io/cluster/<name>` = `owned` | that cluster owns it |
//! | `kubernetes.io/cluster/<name>` = anything else | that cluster uses it, and does not own it |
//! | `KubernetesCluster` = `<name>` | that cluster owns it (older form) |
//! | `elbv2.k8s.aws/cluster` = `<name>` | the load balancer controller of that cluster owns it |
//! | `ebs.csi.aws.com/cluster`, `CSIVolumeName`, `kubernetes.io/service-name`, `kubernetes.io/created-for/pvc/…` | some cluster made it; not which |
//!
//! An object belongs to a cluster when a tag says that this cluster owns it and no tag names another one, or
//! when the cluster named it itself while it lived and no tag names another one. Names of objects prove
//! nothing: `prod-web` is also how `prod-web2` begins.

use std::collections::{BTreeMap, BTreeSet};

use cratekube_common::domain::id::ClusterId;
use cratekube_common::domain::removal::{CloudObject, CloudRecord, KeptCause, ObjectKey, Proof};
use cratekube_common::domain::time::Timestamp;

/// What the tag that names an owner begins with.
pub const OWNER: &str = "kubernetes.io/cluster/";
/// The older form of it.
pub const OWNER_BEFORE: &str = "KubernetesCluster";
/// What the AWS load balancer controller writes.
pub const OWNER_LOAD_BALANCER: &str = "elbv2.k8s.aws/cluster";
/// Tags of what some cluster made.
const MADE: [&str; 3] = ["ebs.csi.aws.com/cluster", "CSIVolumeName", "kubernetes.io/service-name"];
/// What tags of volumes made for claims begin with.
const MADE_FOR: &str = "kubernetes.io/created-for/";

/// What an object's tags say of clusters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims<'a> {
    /// Clusters that own it, each with the tag that says so.
    pub owners: BTreeMap<&'a str, &'a str>,
    /// Clusters that use it without owning it.
    pub users: BTreeSet<&'a str>,
    /// True when some cluster made it, whichever.
    pub made: bool,
}

impl<'a> Claims<'a> {
    /// Reads an object's tags.
    #[must_use]
    pub fn of(object: &'a CloudObject) -> Self {
        let mut claims = Self::default();
        for (key, value) in &object.tags {
            if let Some(name) = key.strip_prefix(OWNER).filter(|name| !name.is_empty()) {
                if value == "owned" {
                    claims.owners.insert(name, key);
                } else {
                    claims.users.insert(name);
                }
            } else if (key == OWNER_BEFORE || key == OWNER_LOAD_BALANCER) && !value.is_empty() {
                claims.owners.entry(value).or_insert(key);
            } else if MADE.contains(&key.as_str()) || key.starts_with(MADE_FOR) {
                claims.made = true;
            }
        }
        claims
    }

    /// True when no tag says anything of any cluster.
    #[must_use]
    pub fn silent(&self) -> bool {
        !self.made && self.owners.is_empty() && self.users.is_empty()
    }
}

/// How a cluster is known in the cloud.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    names: BTreeSet<String>,
    recorded: BTreeMap<ObjectKey, Option<Timestamp>>,
}

impl Identity {
    /// A cluster by its id, by the names that were recorded or vouched for, and by the objects that it named.
    #[must_use]
    pub fn new(cluster: ClusterId, vouched: &BTreeSet<String>, record: &CloudRecord) -> Self {
        let names = vouched.iter().chain(&record.tag_names).filter(|name| !name.is_empty()).cloned();
        Self {
            names: names.chain([cluster.to_string()]).collect(),
            recorded: record.objects.iter().map(|object| (object.key(), object.created_at)).collect(),
        }
    }

    /// Names that stand for the cluster in tags.
    #[must_use]
    pub fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// True when the cluster named this very object. Names of classic load balancers can be used again, so
    /// that the time at which it was made has to be the same, where it was recorded.
    fn named(&self, object: &CloudObject) -> bool {
        let recorded = self.recorded.get(&object.key());
        recorded.is_some_and(|made| made.is_none() || object.created_at.is_none() || *made == object.created_at)
    }
}

/// How an object stands to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It belongs to it.
    Belongs(Proof),
    /// It has to do with the cluster, and is not proven to belong to it.
    Unproven(KeptCause, String),
    /// It has nothing to do with the cluster, as far as it says itself.
    Foreign,
}

/// How an object stands to a cluster, by its own tags and by what the cluster named.
#[must_use]
pub fn standing(object: &CloudObject, identity: &Identity) -> Standing {
    let claims = Claims::of(object);
    let mine = |name: &&str| identity.names.contains(*name);
    let owner = claims.owners.iter().find(|(name, _)| mine(name));
    let uses = claims.users.iter().find(|name| mine(name));
    let other = claims.owners.keys().chain(&claims.users).find(|name| !mine(name));
    let named = identity.named(object);
    match (owner, uses, other) {
        (Some((name, _)), _, Some(other)) => {
            Standing::Unproven(KeptCause::TwoClusters, format!("its tags name cluster {name:?} and cluster {other:?}"))
        }
        (_, Some(name), Some(other)) => {
            Standing::Unproven(KeptCause::TwoClusters, format!("clusters {name:?} and {other:?} both use it"))
        }
        (_, Some(name), None) => Standing::Unproven(
            KeptCause::Shared,
            format!("the tag {OWNER}{name} says that the cluster uses it and does not own it"),
        ),
        (Some((_, key)), None, None) => Standing::Belongs(Proof::Tag { key: (*key).to_owned() }),
        (None, None, Some(other)) if named => Standing::Unproven(
            KeptCause::OtherCluster,
            format!("the cluster named it, and its tags say that it is cluster {other:?}'s"),
        ),
        (None, None, Some(_)) => Standing::Foreign,
        (None, None, None) if named => Standing::Belongs(Proof::Recorded),
        (None, None, None) if claims.made => {
            Standing::Unproven(KeptCause::NoProof, "some cluster made it, and nothing says which".into())
        }
        (None, None, None) => Standing::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::{object, tagged};
    use cratekube_common::domain::removal::CloudKind::{ClassicLoadBalancer, SecurityGroup, Volume};
    use proptest::prelude::*;

    fn identity(names: &[&str], recorded: Vec<CloudObject>) -> Identity {
        let names = names.iter().map(|&n| n.to_owned()).collect();
        Identity::new(
            uuid::Uuid::from_u128(7).into(),
            &names,
            &CloudRecord { objects: recorded, ..CloudRecord::default() },
        )
    }

    fn cause(object: &CloudObject, identity: &Identity) -> Option<KeptCause> {
        match standing(object, identity) {
            Standing::Unproven(cause, _) => Some(cause),
            _ => None,
        }
    }

    #[test]
    fn an_object_belongs_when_a_tag_says_that_this_cluster_and_no_other_owns_it() {
        let me = identity(&["web"], Vec::new());
        let id = uuid::Uuid::from_u128(7).to_string();
        for (key, value) in [
            ("kubernetes.io/cluster/web", "owned"),
            ("KubernetesCluster", "web"),
            ("elbv2.k8s.aws/cluster", "web"),
            (&format!("{OWNER}{id}"), "owned"),
        ] {
            let found = tagged(Volume, "vol-1", &[(key, value), ("Name", "x"), ("ebs.csi.aws.com/cluster", "true")]);
            assert_eq!(standing(&found, &me), Standing::Belongs(Proof::Tag { key: key.into() }), "{key}");
        }
    }

    #[test]
    fn names_and_beginnings_of_names_prove_nothing() {
        let me = identity(&["prod-web"], Vec::new());
        for tags in [
            &[("kubernetes.io/cluster/prod-web2", "owned")][..],
            &[("kubernetes.io/cluster/prod", "owned")],
            &[("kubernetes.io/cluster/", "owned")],
            &[("KubernetesCluster", "prod-web2")],
            &[("elbv2.k8s.aws/cluster", "PROD-WEB")],
            &[("Name", "prod-web"), ("cluster", "prod-web")],
            &[("Name", "kubernetes.io/cluster/prod-web")],
            &[],
        ] {
            assert_eq!(standing(&tagged(Volume, "prod-web", tags), &me), Standing::Foreign, "{tags:?}");
        }
    }

    #[test]
    fn what_is_shared_or_of_two_clusters_or_nameless_is_kept_and_says_why() {
        let me = identity(&["web"], Vec::new());
        let group = |tags: &[(&str, &str)]| cause(&tagged(SecurityGroup, "sg-1", tags), &me);
        assert_eq!(group(&[("kubernetes.io/cluster/web", "shared")]), Some(KeptCause::Shared));
        assert_eq!(group(&[("kubernetes.io/cluster/web", "")]), Some(KeptCause::Shared));
        assert_eq!(group(&[("kubernetes.io/cluster/web", "Owned")]), Some(KeptCause::Shared));
        for other in
            [("kubernetes.io/cluster/b", "owned"), ("kubernetes.io/cluster/b", "shared"), ("KubernetesCluster", "b")]
        {
            assert_eq!(group(&[("kubernetes.io/cluster/web", "owned"), other]), Some(KeptCause::TwoClusters));
            assert_eq!(group(&[("kubernetes.io/cluster/web", "shared"), other]), Some(KeptCause::TwoClusters));
        }
        // Owned by one tag, shared by another: the weaker word counts.
        assert_eq!(
            group(&[("KubernetesCluster", "web"), ("kubernetes.io/cluster/web", "shared")]),
            Some(KeptCause::Shared)
        );
        for made in ["kubernetes.io/service-name", "kubernetes.io/created-for/pvc/name", "ebs.csi.aws.com/cluster"] {
            assert_eq!(group(&[(made, "web")]), Some(KeptCause::NoProof));
        }
    }

    #[test]
    fn what_the_cluster_named_belongs_unless_a_tag_says_that_it_is_anothers() {
        let plain = object(Volume, "vol-1");
        let me = identity(&["web"], vec![plain.clone()]);
        assert_eq!(standing(&plain, &me), Standing::Belongs(Proof::Recorded));
        assert_eq!(standing(&object(Volume, "vol-2"), &me), Standing::Foreign);
        let theirs = tagged(Volume, "vol-1", &[("kubernetes.io/cluster/b", "owned")]);
        assert_eq!(cause(&theirs, &me), Some(KeptCause::OtherCluster));
    }

    #[test]
    fn a_load_balancer_that_was_made_anew_under_a_recorded_name_is_not_the_recorded_one() {
        let made =
            |ms| CloudObject { created_at: Some(Timestamp::from_millis(ms)), ..object(ClassicLoadBalancer, "a1") };
        let me = identity(&[], vec![made(1)]);
        assert_eq!(standing(&made(1), &me), Standing::Belongs(Proof::Recorded));
        assert_eq!(standing(&made(2), &me), Standing::Foreign);
    }

    proptest! {
        // Whatever tags there are: nothing belongs that names another cluster, or that names nobody.
        #[test]
        fn nothing_belongs_that_names_another_cluster_or_nobody(
            tags in proptest::collection::btree_map(
                prop_oneof![
                    "kubernetes\\.io/cluster/(web|web2|b|)", Just(OWNER_BEFORE.to_owned()),
                    Just(OWNER_LOAD_BALANCER.to_owned()), "[a-zA-Z/.-]{1,12}",
                ],
                prop_oneof![Just("owned".to_owned()), Just("shared".to_owned()), Just("web".to_owned()), Just("b".to_owned()), "[a-z]{0,4}"],
                0..5,
            )
        ) {
            let found = CloudObject { tags, ..object(Volume, "vol-9") };
            if let Standing::Belongs(proof) = standing(&found, &identity(&["web"], Vec::new())) {
                let Proof::Tag { key } = proof else { return Err(TestCaseError::fail("proof out of nothing")) };
                prop_assert!(found.tag(&key) == Some("web") || (key == "kubernetes.io/cluster/web" && found.tag(&key) == Some("owned")));
                let other = |(k, v): (&String, &String)| {
                    k.strip_prefix(OWNER).is_some_and(|n| !n.is_empty() && n != "web")
                        || ([OWNER_BEFORE, OWNER_LOAD_BALANCER].contains(&k.as_str()) && !v.is_empty() && v != "web")
                };
                prop_assert!(!found.tags.iter().any(other));
            }
        }
    }
}
