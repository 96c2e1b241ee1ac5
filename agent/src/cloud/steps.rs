//! The steps of a removal that look at the cloud, and what other steps take from here.

use std::path::Path;
use std::time::Duration;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::removal::{
    CloudRecord, Fate, KnownToCluster, OrphanFindings, OrphanInput, SweepFindings, SweepInput, Tally, Verdict,
};
use cratekube_common::runtime::clock::{self, Clock};
use cratekube_common::runtime::mint::Mint;
use cratekube_common::step::StepOutcome;
use serde::Serialize;
use serde_json::Value;

use super::belonging::Identity;
use super::journal::Journal;
use super::price::Prices;
use super::sweep::{Pace, Sweep};
use super::{CloudFault, CloudSweeper, orphans, record};
use crate::config::CloudSection;
use crate::step::{Console, StepInput};

/// Waits are parts of the patience, so that one setting makes all of it faster or slower. Of fifteen minutes:
/// two seconds before a second round of deletions (load balancers let go of their parts within seconds), thirty
/// between two rounds at most.
const FIRST_WAIT: u32 = 450;
const LONGEST_WAIT: u32 = 30;
/// Looks after a sweep: what shows up after the first is swept, what shows up after the last is left.
const LOOKS: u32 = 3;
/// Longest pause before looking again: three of them fit into the usual limit of the step.
const LONGEST_PAUSE: Duration = Duration::from_secs(12 * 60);
/// Most names that a failure lists; all of them are in the findings.
const NAMED: usize = 5;

/// Deletes what the cluster left in the cloud, or lists it.
pub async fn sweep(input: &StepInput, console: &dyn Console) -> StepOutcome {
    act(input, console, false).await
}

/// Looks again after a pause.
pub async fn confirm(input: &StepInput, console: &dyn Console) -> StepOutcome {
    act(input, console, true).await
}

/// Looks up in the cloud what a cluster named. Where the cloud cannot be asked, the record says why.
pub async fn record_cloud(settings: &CloudSection, known: &KnownToCluster, console: &dyn Console) -> CloudRecord {
    let clock = clock::system();
    let recorded = match open(settings, &clock).await {
        Ok(cloud) => record::record(&*cloud, known).await,
        Err(fault) => CloudRecord { unverified: Some(fault.to_string()), ..CloudRecord::default() },
    };
    match &recorded.unverified {
        Some(why) => console.line(&format!("the cloud was not asked: {why}")),
        None => console.line(&format!(
            "{} objects in the cloud are recorded, {} that the cluster names are not there",
            recorded.objects.len(),
            recorded.missing.len()
        )),
    }
    recorded
}

/// Looks for objects of clusters that are not there any more. Changes nothing.
pub async fn orphan_scan(settings: &CloudSection, input: &OrphanInput) -> OrphanFindings {
    let clock = clock::system();
    let nothing = |why: String| OrphanFindings {
        region: None,
        at: clock.now(),
        unverified: Some(why),
        prices: String::new(),
        monthly_cents: 0,
        groups: Vec::new(),
        not_listed: 0,
    };
    let prices = match Prices::load(settings.prices.as_deref()) {
        Ok(prices) => prices,
        Err(why) => return nothing(why),
    };
    match open(settings, &clock).await {
        Ok(cloud) => orphans::scan(&*cloud, input, &prices, clock.now()).await,
        Err(fault) => nothing(fault.to_string()),
    }
}

async fn act(input: &StepInput, console: &dyn Console, again: bool) -> StepOutcome {
    let asked = match SweepInput::read(&input.input) {
        Ok(asked) => asked,
        Err(why) => return failed(FailureClass::Internal, why, "Retry with a newer release of the agent."),
    };
    let settings = &input.settings.cloud;
    let prices = match Prices::load(settings.prices.as_deref()) {
        Ok(prices) => prices,
        Err(why) => return failed(FailureClass::Config, why, "Correct or unset `cloud.prices` of the agent."),
    };
    let clock = clock::system();
    console.phase(1, 2, "finding the cloud");
    let cloud = match open(settings, &clock).await {
        Ok(cloud) => cloud,
        Err(fault) => return unverified(&asked, &fault, &clock, prices.name, console),
    };
    let identity = Identity::new(input.cluster, &asked.tag_names, &asked.record);
    let (tell, waits_for) = (|line: &str| console.line(line), |what: &str| console.waits_for(what));
    let sweep = Sweep {
        cloud: &*cloud,
        clock: &clock,
        mint: &Mint::system(clock.clone()),
        pace: pace(settings, &asked, console),
        prices: &prices,
        identity: &identity,
        cluster: input.cluster,
        operation: input.operation,
        policy: asked.policy,
        dark: asked.in_the_dark(),
        tell: &tell,
        waits_for: &waits_for,
    };
    console.phase(2, 2, if again { "looking again" } else { "sweeping" });
    if asked.dry_run {
        return done(&sweep.dry_run().await, console);
    }
    let cluster_dir = input.working.parent().unwrap_or_else(|| Path::new("/nowhere"));
    let swept = match Journal::open(&Journal::path(cluster_dir, input.operation)) {
        Ok(mut journal) if again => sweep.confirm(&mut journal).await,
        Ok(mut journal) => sweep.run(&mut journal).await,
        Err(error) => Err(error),
    };
    match swept {
        Ok(findings) => done(&findings, console),
        Err(error) => failed(
            FailureClass::Volume,
            format!("the journal of the sweep cannot be kept: {error}"),
            "Make room on the state volume or mend it, then retry: the sweep goes on where it was.",
        ),
    }
}

fn pace(settings: &CloudSection, asked: &SweepInput, console: &dyn Console) -> Pace {
    let wanted = asked.confirm_pause_s.map_or(settings.confirm_pause, Duration::from_secs);
    if wanted > LONGEST_PAUSE {
        console.line(&format!("a pause is at most {} s", LONGEST_PAUSE.as_secs()));
    }
    Pace {
        first: settings.patience / FIRST_WAIT,
        cap: settings.patience / LONGEST_WAIT,
        patience: settings.patience,
        pause: wanted.min(LONGEST_PAUSE),
        looks: LOOKS,
    }
}

/// The cloud, where the agent was told to look at one, can speak to it and has the keys.
pub(super) async fn open(settings: &CloudSection, clock: &Clock) -> Result<Box<dyn CloudSweeper>, CloudFault> {
    if !settings.enabled {
        return Err(CloudFault::NoCredentials("`cloud.enabled` is not set in its configuration".into()));
    }
    open_aws(settings, clock).await
}

#[cfg(feature = "aws")]
async fn open_aws(settings: &CloudSection, clock: &Clock) -> Result<Box<dyn CloudSweeper>, CloudFault> {
    use super::aws::{Aws, AwsSettings, Retry};
    // Half a second and twenty of fifteen minutes.
    const FIRST: u32 = 1800;
    const LONGEST: u32 = 45;
    let patience = settings.patience;
    let retry = Retry { first: patience / FIRST, cap: patience / LONGEST, ..Retry::default() };
    let settings = AwsSettings {
        region: settings.region.clone(),
        endpoint: settings.endpoint.clone(),
        credentials: settings.credentials.clone(),
        metadata: settings.metadata.clone(),
        retry,
    };
    Ok(Box::new(Aws::open(&settings, clock.clone(), Mint::system(clock.clone())).await?))
}

#[cfg(not(feature = "aws"))]
async fn open_aws(_: &CloudSection, _: &Clock) -> Result<Box<dyn CloudSweeper>, CloudFault> {
    Err(CloudFault::NoCredentials("it was built without AWS (the cargo feature `aws`)".into()))
}

/// Nothing is known of the cloud: said, and not called clean.
fn unverified(
    asked: &SweepInput,
    fault: &CloudFault,
    clock: &Clock,
    prices: String,
    console: &dyn Console,
) -> StepOutcome {
    let findings = SweepFindings {
        verdict: Verdict::Unverified,
        unverified: Some(fault.to_string()),
        dry_run: asked.dry_run,
        policy: asked.policy,
        region: None,
        at: clock.now(),
        prices,
        tally: Tally::default(),
        entries: Vec::new(),
        not_listed: 0,
    };
    done(&findings, console)
}

fn done(findings: &SweepFindings, console: &dyn Console) -> StepOutcome {
    let tally = &findings.tally;
    console.line(&format!(
        "{}: {} found, {} deleted, {} gone before, {} would go, {} left, {} kept; {} USD a month freed, {} left, {} kept",
        findings.verdict,
        tally.found,
        tally.deleted,
        tally.already_gone,
        tally.would_go,
        tally.left,
        tally.kept,
        dollars(tally.monthly_cents_freed),
        dollars(tally.monthly_cents_left),
        dollars(tally.monthly_cents_kept),
    ));
    let mut warnings = Vec::new();
    if let Some(why) = &findings.unverified {
        warnings.push(format!("whether the cluster left something in the cloud is not verified: {why}"));
    }
    let mut told = to_value(findings);
    told["state"] = match findings.verdict {
        Verdict::Unverified => "unverified".into(),
        Verdict::Clean | Verdict::Left => "done".into(),
    };
    if let Some(why) = &findings.unverified {
        told["why"] = why.clone().into();
    }
    StepOutcome { failure: left(findings), warnings, findings: told }
}

/// The failure of a sweep that left something, with what and why.
fn left(findings: &SweepFindings) -> Option<Failure> {
    let left = findings.entries.iter().filter(|entry| entry.fate == Fate::Left);
    let told = |entry: &cratekube_common::domain::removal::Entry| {
        format!("{} {}: {}", entry.kind, entry.id, entry.why.as_deref().unwrap_or("it is still there"))
    };
    let named: Vec<_> = left.take(NAMED).map(told).collect();
    let more = usize::try_from(findings.tally.left).unwrap_or(usize::MAX).saturating_sub(named.len());
    let and = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!named.is_empty()).then(|| Failure {
        class: FailureClass::Cloud,
        message: format!("the cluster's objects are still in the cloud: {}{and}", named.join("; ")),
        line: None,
        retryable: true,
        remedy: "Mend what holds them, or give the agent the right to delete them, then retry: the sweep goes on \
            where it was. What cannot be mended stays, and goes on costing, when an admin abandons the removal."
            .into(),
    })
}

fn failed(class: FailureClass, message: String, remedy: &str) -> StepOutcome {
    let failure = Failure { class, message, line: None, retryable: true, remedy: remedy.to_owned() };
    StepOutcome { failure: Some(failure), ..StepOutcome::default() }
}

fn to_value(findings: &impl Serialize) -> Value {
    serde_json::to_value(findings).unwrap_or(Value::Null)
}

fn dollars(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
