//! In which order objects go, so that nothing is deleted that something else still hangs on.
//!
//! A load balancer holds listeners, target groups, addresses, network interfaces and security groups; a rule
//! of a security group holds the group that it names; a volume holds nothing, and is held by its instance.

use cratekube_common::domain::removal::{CloudKind, CloudObject};

/// The place of a kind in the order: what has a lower one goes first.
#[must_use]
pub fn rank(kind: CloudKind) -> u8 {
    match kind {
        CloudKind::Listener => 0,
        CloudKind::ClassicLoadBalancer | CloudKind::LoadBalancer => 1,
        CloudKind::TargetGroup => 2,
        CloudKind::ElasticIp => 3,
        CloudKind::NetworkInterface => 4,
        CloudKind::SecurityGroupRule => 5,
        CloudKind::SecurityGroup => 6,
        CloudKind::Volume => 7,
        CloudKind::Snapshot => 8,
        // Never deleted.
        CloudKind::Instance => u8::MAX,
    }
}

/// Puts objects into the order in which they go; within a kind by id, so that it is the same each time.
pub fn sort<T>(objects: &mut [T], object: impl Fn(&T) -> &CloudObject) {
    objects.sort_by(|a, b| {
        let (a, b) = (object(a), object(b));
        (rank(a.kind), &a.id).cmp(&(rank(b.kind), &b.id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::object;

    #[test]
    fn what_holds_others_goes_before_what_is_held() {
        let mut objects: Vec<_> = CloudKind::ALL.iter().rev().map(|&kind| object(kind, "x")).collect();
        sort(&mut objects, |o| o);
        let place = |kind| objects.iter().position(|o| o.kind == kind).unwrap();
        for (first, then) in [
            (CloudKind::Listener, CloudKind::LoadBalancer),
            (CloudKind::LoadBalancer, CloudKind::TargetGroup),
            (CloudKind::LoadBalancer, CloudKind::ElasticIp),
            (CloudKind::ClassicLoadBalancer, CloudKind::SecurityGroup),
            (CloudKind::NetworkInterface, CloudKind::SecurityGroup),
            (CloudKind::SecurityGroupRule, CloudKind::SecurityGroup),
            (CloudKind::Volume, CloudKind::Snapshot),
        ] {
            assert!(place(first) < place(then), "{first} before {then}");
        }
    }
}
