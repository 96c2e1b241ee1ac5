//! What a removal would delete in the cloud, before anybody asks for it. Changes nothing: neither the cloud nor
//! the state volume is written to.

use std::time::Duration;

use cratekube_common::domain::id::{ClusterId, OperationId};
use cratekube_common::domain::removal::{KnownToCluster, SweepFindings, SweepInput, Tally, Verdict};
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::mint::Mint;

use super::belonging::Identity;
use super::price::Prices;
use super::record::record;
use super::steps::open;
use super::sweep::{Pace, Sweep};
use crate::config::CloudSection;

/// A dry run looks once and waits for nothing.
const ONCE: Pace =
    Pace { first: Duration::ZERO, cap: Duration::ZERO, patience: Duration::ZERO, pause: Duration::ZERO, looks: 1 };

/// Lists what a sweep would delete and keep, with costs: by what the cluster names now, and by older records.
/// Where the cluster could not be asked, something of it may be missing, and the findings say so.
pub async fn preview(
    settings: &CloudSection,
    cluster: ClusterId,
    mut asked: SweepInput,
    known: Result<KnownToCluster, String>,
) -> SweepFindings {
    let clock = clock::system();
    let prices = match Prices::load(settings.prices.as_deref()) {
        Ok(prices) => prices,
        Err(why) => return nothing(&asked, why, String::new(), &clock),
    };
    let cloud = match open(settings, &clock).await {
        Ok(cloud) => cloud,
        Err(fault) => return nothing(&asked, fault.to_string(), prices.name, &clock),
    };
    let mut dark = None;
    match known {
        Ok(known) => asked.record = asked.record.with(record(&*cloud, &known).await),
        Err(why) => dark = Some(format!("the cluster could not be asked what is its own: {why}")),
    }
    let dark = dark.or_else(|| asked.record.unverified.clone());
    let identity = Identity::new(cluster, &asked.tag_names, &asked.record);
    let mint = Mint::system(clock.clone());
    let sweep = Sweep {
        cloud: &*cloud,
        clock: &clock,
        mint: &mint,
        pace: ONCE,
        prices: &prices,
        identity: &identity,
        cluster,
        // There is none yet, and a dry run takes no snapshot that would carry it.
        operation: OperationId(uuid::Uuid::nil()),
        policy: asked.policy,
        dark,
        tell: &|_| {},
        waits_for: &|_| {},
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
