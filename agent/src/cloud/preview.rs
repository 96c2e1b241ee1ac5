//! What a removal would delete in the cloud, before anybody asks for it. Changes nothing: neither the cloud nor
//! the state volume is written to.

use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::removal::{SweepFindings, SweepInput, Tally, Verdict};
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::mint::Mint;

use super::belonging::Identity;
use super::price::Prices;
use super::steps::{open, pace};
use super::sweep::Sweep;
use crate::config::CloudSection;

/// Lists what a sweep would delete by the record that it is given, and what it would keep, with costs.
pub async fn preview(settings: &CloudSection, cluster: ClusterId, asked: SweepInput) -> SweepFindings {
    let clock = clock::system();
    let prices = match Prices::load(settings.prices.as_deref()) {
        Ok(prices) => prices,
        Err(why) => return nothing(&asked, why, String::new(), &clock),
    };
    let cloud = match open(settings, &clock).await {
        Ok(cloud) => cloud,
        Err(fault) => return nothing(&asked, fault.to_string(), prices.name, &clock),
    };
    let identity = Identity::new(cluster, &asked.tag_names, &asked.record);
    let mint = Mint::system(clock.clone());
    let sweep = Sweep {
        cloud: &*cloud,
        clock: &clock,
        mint: &mint,
        pace: pace(settings),
        prices: &prices,
        identity: &identity,
        cluster,
        // There is none yet, and a dry run takes no snapshot that would carry it.
        operation: OperationId(uuid::Uuid::nil()),
        policy: asked.policy,
        tell: &|_| {},
    };
    sweep.dry_run().await
}

fn nothing(asked: &SweepInput, why: String, prices: String, clock: &Clock) -> SweepFindings {
    SweepFindings {
        verdict: Verdict::Unverified,
        unverified: Some(why),
        dry_run: true,
        policy: asked.policy,
        region: None,
        at: clock.now(),
        prices,
        tally: Tally::default(),
        entries: Vec::new(),
        not_listed: 0,
    }
}
