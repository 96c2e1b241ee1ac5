//! AWS behind the seam: its Query APIs for EC2 and Elastic Load Balancing, spoken directly.
//!
//! The SDK's crate for EC2 alone is 1.2 million lines, for fifteen calls. These are a signed form and an
//! XML document each: [`sign`], [`client`] and [`xml`] are all there is to them; [`ec2`] and [`balancers`]
//! say which calls make which kind of object.

mod balancers;
mod client;
mod credentials;
mod ec2;
mod refusal;
mod sign;
mod xml;

use std::collections::BTreeMap;

use async_trait::async_trait;
use cratekube_common::domain::removal::{CloudKind, CloudObject};

use super::{CloudFault, CloudSweeper, Gone};
pub use client::{Aws, AwsSettings, Retry};

#[async_trait]
impl CloudSweeper for Aws {
    fn region(&self) -> &str {
        self.region_name()
    }

    async fn list(&self, kind: CloudKind) -> Result<Vec<CloudObject>, CloudFault> {
        match kind {
            CloudKind::ClassicLoadBalancer => balancers::classic(self).await,
            CloudKind::LoadBalancer => balancers::second(self).await,
            CloudKind::TargetGroup => balancers::target_groups(self).await,
            CloudKind::Listener => Ok(Vec::new()),
            _ => ec2::list(self, kind).await,
        }
    }

    async fn parts(&self, whole: &CloudObject) -> Result<Vec<CloudObject>, CloudFault> {
        match whole.kind {
            CloudKind::LoadBalancer => balancers::listeners(self, whole).await,
            _ => Ok(Vec::new()),
        }
    }

    async fn delete(&self, object: &CloudObject) -> Result<Gone, CloudFault> {
        match object.kind {
            CloudKind::ClassicLoadBalancer | CloudKind::LoadBalancer | CloudKind::TargetGroup | CloudKind::Listener => {
                balancers::delete(self, object).await
            }
            _ => ec2::delete(self, object).await,
        }
    }

    async fn detach(&self, object: &CloudObject) -> Result<(), CloudFault> {
        ec2::detach(self, object).await
    }

    async fn snapshot(&self, volume: &CloudObject, tags: &BTreeMap<String, String>) -> Result<CloudObject, CloudFault> {
        ec2::snapshot(self, volume, tags).await
    }
}
