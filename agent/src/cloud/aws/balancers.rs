//! Load balancers of both kinds, their listeners and target groups.

use std::collections::BTreeMap;

use cratekube_common::domain::removal::{CloudKind, CloudObject};

use super::super::{CloudFault, Gone};
use super::client::{Aws, Service};
use super::ec2::gone;
use super::xml::Node;

/// Largest page of a list.
const PAGE: usize = 400;
/// Most objects whose tags can be asked for at once.
const TAGGED: usize = 20;

/// Load balancers of the first kind.
pub(super) async fn classic(aws: &Aws) -> Result<Vec<CloudObject>, CloudFault> {
    let pages = aws.pages(Service::Classic, "DescribeLoadBalancers", &[], PAGE).await?;
    let object = |item: &Node| {
        let id = item.at(&["LoadBalancerName"])?;
        Some(CloudObject {
            name: item.at(&["DNSName"]).map(str::to_lowercase),
            created_at: item.at(&["CreatedTime"]).and_then(|at| at.parse().ok()),
            ..blank(aws, CloudKind::ClassicLoadBalancer, id)
        })
    };
    let found = pages.iter().flat_map(|page| page.items("LoadBalancerDescriptions")).filter_map(object).collect();
    tagged(aws, Service::Classic, "LoadBalancerNames", "LoadBalancerName", found).await
}

/// Load balancers of the second kind.
pub(super) async fn second(aws: &Aws) -> Result<Vec<CloudObject>, CloudFault> {
    let pages = aws.pages(Service::Balancing, "DescribeLoadBalancers", &[], PAGE).await?;
    let object = |item: &Node| {
        Some(CloudObject {
            name: item.at(&["DNSName"]).map(str::to_lowercase),
            created_at: item.at(&["CreatedTime"]).and_then(|at| at.parse().ok()),
            flavour: item.at(&["Type"]).map(str::to_owned),
            ..blank(aws, CloudKind::LoadBalancer, item.at(&["LoadBalancerArn"])?)
        })
    };
    let found = pages.iter().flat_map(|page| page.items("LoadBalancers")).filter_map(object).collect();
    tagged(aws, Service::Balancing, "ResourceArns", "ResourceArn", found).await
}

/// Target groups.
pub(super) async fn target_groups(aws: &Aws) -> Result<Vec<CloudObject>, CloudFault> {
    let pages = aws.pages(Service::Balancing, "DescribeTargetGroups", &[], PAGE).await?;
    let object = |item: &Node| {
        Some(CloudObject {
            name: item.at(&["TargetGroupName"]).map(str::to_owned),
            attached_to: item.items("LoadBalancerArns").map(|arn| arn.text.trim().to_owned()).collect(),
            ..blank(aws, CloudKind::TargetGroup, item.at(&["TargetGroupArn"])?)
        })
    };
    let found = pages.iter().flat_map(|page| page.items("TargetGroups")).filter_map(object).collect();
    tagged(aws, Service::Balancing, "ResourceArns", "ResourceArn", found).await
}

/// Listeners of a load balancer. They go with it whatever their own tags say, so these are not asked for.
pub(super) async fn listeners(aws: &Aws, whole: &CloudObject) -> Result<Vec<CloudObject>, CloudFault> {
    let pages = aws.pages(Service::Balancing, "DescribeListeners", &[("LoadBalancerArn", &whole.id)], PAGE).await;
    let pages = match pages {
        // It was deleted between the two calls.
        Err(CloudFault::Other(why)) if why.contains("NotFound") => return Ok(Vec::new()),
        pages => pages?,
    };
    let object = |item: &Node| {
        Some(CloudObject {
            name: Some(format!("{} {}", item.at(&["Protocol"])?, item.at(&["Port"]).unwrap_or("-"))),
            attached_to: vec![whole.id.clone()],
            ..blank(aws, CloudKind::Listener, item.at(&["ListenerArn"])?)
        })
    };
    Ok(pages.iter().flat_map(|page| page.items("Listeners")).filter_map(object).collect())
}

/// Deletes an object.
pub(super) async fn delete(aws: &Aws, object: &CloudObject) -> Result<Gone, CloudFault> {
    let (service, action, param) = match object.kind {
        CloudKind::ClassicLoadBalancer => (Service::Classic, "DeleteLoadBalancer", "LoadBalancerName"),
        CloudKind::LoadBalancer => (Service::Balancing, "DeleteLoadBalancer", "LoadBalancerArn"),
        CloudKind::TargetGroup => (Service::Balancing, "DeleteTargetGroup", "TargetGroupArn"),
        CloudKind::Listener => (Service::Balancing, "DeleteListener", "ListenerArn"),
        other => return Err(CloudFault::Other(format!("{other} is not of Elastic Load Balancing"))),
    };
    gone(aws.call(service, action, &[(param.to_owned(), object.id.clone())]).await, service, action)
}

fn blank(aws: &Aws, kind: CloudKind, id: &str) -> CloudObject {
    CloudObject {
        kind,
        id: id.to_owned(),
        region: aws.region_name().to_owned(),
        name: None,
        tags: BTreeMap::new(),
        created_at: None,
        attached_to: Vec::new(),
        size_gib: None,
        flavour: None,
        state: None,
        goes_with_instance: false,
    }
}

/// Gives objects their tags. One that was deleted meanwhile makes the call fail for its whole batch: then
/// each is asked for alone, and those that are gone are left out.
async fn tagged(
    aws: &Aws,
    service: Service,
    list: &str,
    id: &str,
    objects: Vec<CloudObject>,
) -> Result<Vec<CloudObject>, CloudFault> {
    let mut done = Vec::with_capacity(objects.len());
    for batch in objects.chunks(TAGGED) {
        if let Some(mut tags) = tags(aws, service, list, id, batch).await? {
            done.extend(
                batch.iter().map(|o| CloudObject { tags: tags.remove(&o.id).unwrap_or_default(), ..o.clone() }),
            );
            continue;
        }
        for one in batch {
            if let Some(mut tags) = tags(aws, service, list, id, std::slice::from_ref(one)).await? {
                done.push(CloudObject { tags: tags.remove(&one.id).unwrap_or_default(), ..one.clone() });
            }
        }
    }
    Ok(done)
}

type Tags = BTreeMap<String, BTreeMap<String, String>>;

/// Tags of some objects, by object; none when one of them is gone.
async fn tags(
    aws: &Aws,
    service: Service,
    list: &str,
    id: &str,
    of: &[CloudObject],
) -> Result<Option<Tags>, CloudFault> {
    let action = "DescribeTags";
    let params: Vec<_> = (1..).zip(of).map(|(n, object)| (format!("{list}.member.{n}"), object.id.clone())).collect();
    let answer = match aws.call(service, action, &params).await {
        Err(refusal) if refusal.absent() => return Ok(None),
        answer => answer.map_err(|refusal| refusal.fault(service, action))?,
    };
    let pair = |tag: &Node| Some((tag.child("Key")?.text.clone(), tag.verbatim("Value")));
    let described = answer
        .items("TagDescriptions")
        .filter_map(|one| Some((one.at(&[id])?.to_owned(), one.items("Tags").filter_map(pair).collect())));
    Ok(Some(described.collect()))
}
