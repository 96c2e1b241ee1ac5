//! Machines, volumes, snapshots, addresses, network interfaces, security groups.

use std::collections::{BTreeMap, BTreeSet};

use cratekube_common::domain::removal::{CloudKind, CloudObject};

use super::super::{CloudFault, Gone};
use super::client::{Aws, Service};
use super::refusal::Refusal;
use super::xml::Node;

/// Largest page that every list here takes.
const PAGE: usize = 500;

/// Every object of a kind.
pub(super) async fn list(aws: &Aws, kind: CloudKind) -> Result<Vec<CloudObject>, CloudFault> {
    match kind {
        CloudKind::Instance => instances(aws).await,
        CloudKind::Volume => volumes(aws).await,
        CloudKind::Snapshot => {
            // Only our own: everyone's public ones would be listed otherwise.
            let pages = aws.pages(Service::Ec2, "DescribeSnapshots", &[("Owner.1", "self")], PAGE).await?;
            Ok(made(aws, &pages, "snapshotSet", snapshot_of))
        }
        CloudKind::ElasticIp => {
            let pages = aws.pages(Service::Ec2, "DescribeAddresses", &[], 0).await?;
            Ok(made(aws, &pages, "addressesSet", address_of))
        }
        CloudKind::NetworkInterface => {
            let pages = aws.pages(Service::Ec2, "DescribeNetworkInterfaces", &[], PAGE).await?;
            Ok(made(aws, &pages, "networkInterfaceSet", interface_of))
        }
        CloudKind::SecurityGroup => {
            let pages = aws.pages(Service::Ec2, "DescribeSecurityGroups", &[], PAGE).await?;
            Ok(made(aws, &pages, "securityGroupInfo", group_of))
        }
        CloudKind::SecurityGroupRule => {
            let pages = aws.pages(Service::Ec2, "DescribeSecurityGroupRules", &[], PAGE).await?;
            Ok(made(aws, &pages, "securityGroupRuleSet", rule_of))
        }
        other => Err(CloudFault::Other(format!("{other} is not of EC2"))),
    }
}

fn made(aws: &Aws, pages: &[Node], list: &str, of: fn(&Node, CloudObject) -> Option<CloudObject>) -> Vec<CloudObject> {
    pages.iter().flat_map(|page| page.items(list)).filter_map(|item| of(item, blank(aws, item))).collect()
}

/// An object with what all have in common.
fn blank(aws: &Aws, item: &Node) -> CloudObject {
    let tags = item.items("tagSet").filter_map(|tag| Some((tag.child("key")?.text.clone(), tag.verbatim("value"))));
    let tags: BTreeMap<_, _> = tags.collect();
    CloudObject {
        kind: CloudKind::Instance,
        id: String::new(),
        region: aws.region_name().to_owned(),
        name: tags.get("Name").cloned(),
        tags,
        created_at: None,
        attached_to: Vec::new(),
        size_gib: None,
        flavour: None,
        state: None,
        goes_with_instance: false,
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

async fn instances(aws: &Aws) -> Result<Vec<CloudObject>, CloudFault> {
    let pages = aws.pages(Service::Ec2, "DescribeInstances", &[], PAGE).await?;
    let items = pages.iter().flat_map(|page| page.items("reservationSet")).flat_map(|r| r.items("instancesSet"));
    let ended = |item: &&Node| matches!(item.at(&["instanceState", "name"]), Some("terminated"));
    let object = |item: &Node| {
        Some(CloudObject {
            id: owned(item.at(&["instanceId"]))?,
            created_at: item.at(&["launchTime"]).and_then(|at| at.parse().ok()),
            flavour: owned(item.at(&["instanceType"])),
            state: owned(item.at(&["instanceState", "name"])),
            ..blank(aws, item)
        })
    };
    Ok(items.filter(|item| !ended(item)).filter_map(object).collect())
}

/// Volumes that go when their instance goes, and those that it starts from.
async fn of_instances(aws: &Aws) -> Result<BTreeSet<String>, CloudFault> {
    let pages = aws.pages(Service::Ec2, "DescribeInstances", &[], PAGE).await?;
    let items = pages.iter().flat_map(|page| page.items("reservationSet")).flat_map(|r| r.items("instancesSet"));
    let volumes = items.flat_map(|instance| {
        let root = instance.at(&["rootDeviceName"]);
        instance.items("blockDeviceMapping").filter_map(move |device| {
            let goes = device.at(&["ebs", "deleteOnTermination"]) == Some("true");
            let starts = root.is_some() && device.at(&["deviceName"]) == root;
            (goes || starts).then(|| owned(device.at(&["ebs", "volumeId"]))).flatten()
        })
    });
    Ok(volumes.collect())
}

async fn volumes(aws: &Aws) -> Result<Vec<CloudObject>, CloudFault> {
    let with_instance = of_instances(aws).await?;
    let pages = aws.pages(Service::Ec2, "DescribeVolumes", &[], PAGE).await?;
    let mut volumes = made(aws, &pages, "volumeSet", volume_of);
    for volume in &mut volumes {
        volume.goes_with_instance |= with_instance.contains(&volume.id);
    }
    Ok(volumes)
}

fn volume_of(item: &Node, blank: CloudObject) -> Option<CloudObject> {
    let ending = matches!(item.at(&["status"]), Some("deleting" | "deleted"));
    let attached = || item.items("attachmentSet").filter(|a| a.at(&["status"]) != Some("detached"));
    let object = CloudObject {
        kind: CloudKind::Volume,
        id: owned(item.at(&["volumeId"]))?,
        created_at: item.at(&["createTime"]).and_then(|at| at.parse().ok()),
        attached_to: attached().filter_map(|a| owned(a.at(&["instanceId"]))).collect(),
        goes_with_instance: attached().any(|a| a.at(&["deleteOnTermination"]) == Some("true")),
        size_gib: item.at(&["size"]).and_then(|size| size.parse().ok()),
        flavour: owned(item.at(&["volumeType"])),
        state: owned(item.at(&["status"])),
        ..blank
    };
    (!ending).then_some(object)
}

fn snapshot_of(item: &Node, blank: CloudObject) -> Option<CloudObject> {
    Some(CloudObject {
        kind: CloudKind::Snapshot,
        id: owned(item.at(&["snapshotId"]))?,
        created_at: item.at(&["startTime"]).and_then(|at| at.parse().ok()),
        attached_to: owned(item.at(&["volumeId"])).into_iter().collect(),
        size_gib: item.at(&["volumeSize"]).and_then(|size| size.parse().ok()),
        flavour: owned(item.at(&["storageTier"])),
        state: owned(item.at(&["status"])),
        ..blank
    })
}

fn address_of(item: &Node, blank: CloudObject) -> Option<CloudObject> {
    let holders = [item.at(&["instanceId"]), item.at(&["networkInterfaceId"])];
    Some(CloudObject {
        kind: CloudKind::ElasticIp,
        id: owned(item.at(&["allocationId"]))?,
        name: owned(item.at(&["publicIp"])),
        attached_to: holders.into_iter().filter_map(owned).collect(),
        ..blank
    })
}

fn interface_of(item: &Node, blank: CloudObject) -> Option<CloudObject> {
    let attachment = |name: &str| item.at(&["attachment", name]);
    let first = attachment("deviceIndex") == Some("0");
    Some(CloudObject {
        kind: CloudKind::NetworkInterface,
        id: owned(item.at(&["networkInterfaceId"]))?,
        name: blank.name.clone().or_else(|| owned(item.at(&["description"]))),
        attached_to: owned(attachment("instanceId")).into_iter().collect(),
        goes_with_instance: attachment("instanceId").is_some()
            && (first || attachment("deleteOnTermination") == Some("true")),
        state: owned(item.at(&["status"])),
        ..blank
    })
}

fn group_of(item: &Node, blank: CloudObject) -> Option<CloudObject> {
    Some(CloudObject {
        kind: CloudKind::SecurityGroup,
        id: owned(item.at(&["groupId"]))?,
        name: owned(item.at(&["groupName"])),
        ..blank
    })
}

/// A rule that names another group; others hold nothing.
fn rule_of(item: &Node, blank: CloudObject) -> Option<CloudObject> {
    let named = item.at(&["referencedGroupInfo", "groupId"])?;
    let way = if item.at(&["isEgress"]) == Some("true") { "egress" } else { "ingress" };
    let holder = item.at(&["groupId"])?;
    Some(CloudObject {
        kind: CloudKind::SecurityGroupRule,
        id: owned(item.at(&["securityGroupRuleId"]))?,
        name: Some(format!("{way} of {holder}")),
        attached_to: vec![holder.to_owned(), named.to_owned()],
        flavour: Some(way.to_owned()),
        ..blank
    })
}

fn params(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Makes of an answer that a thing is gone, also when it was not there.
pub(super) fn gone(answer: Result<Node, Refusal>, service: Service, action: &str) -> Result<Gone, CloudFault> {
    match answer {
        Ok(_) => Ok(Gone::Now),
        Err(refusal) if refusal.absent() => Ok(Gone::Before),
        Err(refusal) => Err(refusal.fault(service, action)),
    }
}

/// Deletes an object.
pub(super) async fn delete(aws: &Aws, object: &CloudObject) -> Result<Gone, CloudFault> {
    let id = object.id.as_str();
    let (action, params) = match object.kind {
        CloudKind::Volume => ("DeleteVolume", params(&[("VolumeId", id)])),
        CloudKind::Snapshot => ("DeleteSnapshot", params(&[("SnapshotId", id)])),
        CloudKind::ElasticIp => ("ReleaseAddress", params(&[("AllocationId", id)])),
        CloudKind::NetworkInterface => ("DeleteNetworkInterface", params(&[("NetworkInterfaceId", id)])),
        CloudKind::SecurityGroup => ("DeleteSecurityGroup", params(&[("GroupId", id)])),
        CloudKind::SecurityGroupRule => {
            let action = match object.flavour.as_deref() {
                Some("egress") => "RevokeSecurityGroupEgress",
                _ => "RevokeSecurityGroupIngress",
            };
            let holder = object.attached_to.first().map_or("", String::as_str);
            (action, params(&[("GroupId", holder), ("SecurityGroupRuleId.1", id)]))
        }
        other => return Err(CloudFault::Other(format!("{other} is never deleted"))),
    };
    gone(aws.call(Service::Ec2, action, &params).await, Service::Ec2, action)
}

/// Takes an object off what it is attached to.
pub(super) async fn detach(aws: &Aws, object: &CloudObject) -> Result<(), CloudFault> {
    let (action, found) = match object.kind {
        CloudKind::Volume => {
            for instance in &object.attached_to {
                let asked = params(&[("VolumeId", &object.id), ("InstanceId", instance)]);
                off(aws.call(Service::Ec2, "DetachVolume", &asked).await, "DetachVolume")?;
            }
            return Ok(());
        }
        CloudKind::NetworkInterface => {
            let found = attachment(aws, "DescribeNetworkInterfaces", ("NetworkInterfaceId.1", &object.id)).await?;
            let of = |item: &Node| owned(item.at(&["attachment", "attachmentId"]));
            ("DetachNetworkInterface", found.iter().find_map(of).map(|id| params(&[("AttachmentId", &id)])))
        }
        CloudKind::ElasticIp => {
            let found = attachment(aws, "DescribeAddresses", ("AllocationId.1", &object.id)).await?;
            let of = |item: &Node| owned(item.at(&["associationId"]));
            ("DisassociateAddress", found.iter().find_map(of).map(|id| params(&[("AssociationId", &id)])))
        }
        _ => return Ok(()),
    };
    let Some(asked) = found else { return Ok(()) };
    off(aws.call(Service::Ec2, action, &asked).await, action)
}

/// Makes of an answer that an object is detached, also when it was not attached.
fn off(answer: Result<Node, Refusal>, action: &str) -> Result<(), CloudFault> {
    match answer {
        Err(Refusal::Code { code, .. }) if code == "IncorrectState" => Ok(()),
        answer => gone(answer, Service::Ec2, action).map(|_| ()),
    }
}

/// What an object's description says of its attachment; nothing when the object is gone.
async fn attachment(aws: &Aws, action: &str, of: (&str, &str)) -> Result<Vec<Node>, CloudFault> {
    match aws.call(Service::Ec2, action, &params(&[of])).await {
        Ok(answer) => Ok(answer.children.into_iter().flat_map(|list| list.children).collect()),
        Err(refusal) if refusal.absent() => Ok(Vec::new()),
        Err(refusal) => Err(refusal.fault(Service::Ec2, action)),
    }
}

/// Begins a snapshot of a volume.
pub(super) async fn snapshot(
    aws: &Aws,
    volume: &CloudObject,
    tags: &BTreeMap<String, String>,
) -> Result<CloudObject, CloudFault> {
    let action = "CreateSnapshot";
    let mut asked = params(&[("VolumeId", &volume.id), ("TagSpecification.1.ResourceType", "snapshot")]);
    for (number, (key, value)) in (1..).zip(tags) {
        asked.push((format!("TagSpecification.1.Tag.{number}.Key"), key.clone()));
        asked.push((format!("TagSpecification.1.Tag.{number}.Value"), value.clone()));
    }
    let answer = aws.call_once(Service::Ec2, action, &asked).await.map_err(|r| r.fault(Service::Ec2, action))?;
    let made = snapshot_of(&answer, blank(aws, &answer));
    made.ok_or_else(|| CloudFault::Other(format!("{action}: the answer names no snapshot")))
}
