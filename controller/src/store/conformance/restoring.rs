//! Volumes are looked through: what they know better is taken, and nothing of it happens twice.

use cratekube_common::domain::attempt::{AttemptState, Fence};
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::generation::Manifest;
use cratekube_common::domain::inventory::{ClusterOnVolume, RunOnVolume, Work};
use cratekube_common::domain::operation::{OperationKind, OperationState};
use cratekube_common::domain::run::{Assignment, RunOutcome, RunReport, RunVerdict};
use cratekube_common::domain::task::TaskKind;

use super::family;
use super::house::{Bastion, House, entry, failure, held};
use crate::plan::settle::RetryPolicy;
use crate::store::{InventoryTaken, PageRequest, TakeInventory};

family![
    a_run_that_was_recorded_since_is_settled_when_it_is_reported_again,
    runs_before_the_newest_are_settled_from_the_volume_and_a_queued_task_does_not_run_twice,
    an_attempt_that_never_came_to_the_volume_is_queued_again,
    an_operation_that_only_the_volume_knows_is_made_again,
    generations_and_removals_that_only_the_volume_knows_are_taken,
    a_cluster_that_is_not_known_is_an_orphan_and_left_alone,
    a_volume_may_be_looked_through_twice,
];

/// What the volume says of a run.
fn run(work: &Assignment, report: Option<RunReport>) -> RunOnVolume {
    let at = report.as_ref().map_or_else(Default::default, |report| report.ended_at);
    RunOnVolume {
        attempt: work.attempt,
        fence: work.fence,
        work: Some(Work { task: work.task, kind: work.kind, operation: work.operation, at }),
        recorded: report.is_some(),
        report,
        forgotten: false,
    }
}

/// What the volume says of a cluster.
fn on_volume(work: &Assignment, runs: Vec<RunOnVolume>) -> ClusterOnVolume {
    let generations: Vec<Manifest> = runs.iter().filter_map(|run| run.report.as_ref()?.generation.clone()).collect();
    ClusterOnVolume {
        cluster: work.cluster,
        environment: work.environment.clone(),
        name: work.name.clone(),
        fence: runs.iter().map(|run| run.fence).max(),
        removed: false,
        generations,
        runs,
    }
}

async fn take(house: &House, bastion: Bastion, clusters: Vec<ClusterOnVolume>) -> InventoryTaken {
    let request = TakeInventory {
        agent: bastion.agent,
        volume: bastion.volume,
        clusters,
        held: Vec::new(),
        retries: RetryPolicy::NEVER,
        audit: entry("volume.look-through", "volume"),
        now: house.now(),
    };
    house.store.take_inventory(request).await.unwrap()
}

/// An attempt that only the volume knows of, for a task that waits here.
fn since(house: &House, work: &Assignment, fence: u64) -> Assignment {
    Assignment { attempt: house.id(), fence: Fence(fence), ..work.clone() }
}

async fn a_run_that_was_recorded_since_is_settled_when_it_is_reported_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let report = house.report(&work, RunOutcome::Succeeded);
    let taken = take(house, bastion, vec![on_volume(&work, vec![run(&work, Some(report.clone()))])]).await;
    assert_eq!((taken.report_again, taken.settled), (vec![work.attempt], 0));
    assert_eq!(house.connect(bastion, vec![held(&work)]).await, [(work.attempt, RunVerdict::Continue)]);
    house.settle(bastion, report).await;
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.generation), (ClusterPhase::Ready, Some(1)));
    assert!(house.lease(bastion, 4).await.is_empty(), "nothing runs twice");
}

async fn runs_before_the_newest_are_settled_from_the_volume_and_a_queued_task_does_not_run_twice(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    // Leased and given back, so that its task waits here while the volume has run it.
    house.provisioned("prod", "web").await;
    let waiting = house.lease_one(bastion).await;
    house.connect(bastion, Vec::new()).await;
    let failed = since(house, &waiting, 5);
    let report =
        RunReport { output_bytes: 100, ..house.report(&failed, RunOutcome::Failed(failure(FailureClass::Etcd))) };
    let (retry, task) = (house.id(), house.id());
    let newest = Assignment { operation: retry, task, ..since(house, &waiting, 6) };
    let second =
        RunReport { generation: Some(house.manifest(&newest, 2)), ..house.report(&newest, RunOutcome::Succeeded) };
    let found = on_volume(&waiting, vec![run(&failed, Some(report)), run(&newest, Some(second.clone()))]);
    let taken = take(house, bastion, vec![found]).await;
    assert_eq!((taken.settled, &taken.report_again), (1, &vec![newest.attempt]), "{taken:?}");
    let first = house.look(waiting.operation).await;
    assert_eq!(first.state, OperationState::Failed);
    assert!(first.warnings.iter().any(|words| words.contains("last 100 bytes")), "{:?}", first.warnings);
    assert!(house.lease(bastion, 4).await.is_empty(), "it is not run again");
    house.connect(bastion, vec![held(&newest)]).await;
    house.settle(bastion, second).await;
    let made = house.look(retry).await;
    assert_eq!((made.kind, made.state), (OperationKind::Provision, OperationState::Succeeded));
    assert_eq!(house.cluster("prod", "web").await.generation, Some(2));
    assert!(house.lease(bastion, 4).await.is_empty());
}

async fn an_attempt_that_never_came_to_the_volume_is_queued_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let work = house.lease_one(bastion).await;
    house.store.lose_attempts(vec![work.attempt], house.now()).await.unwrap();
    let taken = take(house, bastion, Vec::new()).await;
    assert_eq!(taken.released, 1);
    let attempts = house.store.attempts(work.operation).await.unwrap();
    assert_eq!(attempts[0].state, AttemptState::Released);
    let again = house.lease_one(bastion).await;
    assert!(again.fence > work.fence);
}

async fn an_operation_that_only_the_volume_knows_is_made_again(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.ready(bastion, "prod", "web").await;
    let (operation, task) = (house.id(), house.id());
    let removal = Assignment { operation, task, kind: TaskKind::Remove, ..since(house, &work, 9) };
    let report = RunReport { generation: None, ..house.report(&removal, RunOutcome::Succeeded) };
    let taken = take(house, bastion, vec![on_volume(&work, vec![run(&removal, Some(report.clone()))])]).await;
    assert_eq!(taken.report_again, [removal.attempt]);
    let cluster = house.cluster("prod", "web").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Removing, Some(operation)));
    house.connect(bastion, vec![held(&removal)]).await;
    house.settle(bastion, report).await;
    let made = house.look(operation).await;
    assert_eq!((made.kind, made.state), (OperationKind::Remove, OperationState::Succeeded));
    assert!(made.requested_by.contains("not known") && !made.warnings.is_empty());
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Removed);
}

async fn generations_and_removals_that_only_the_volume_knows_are_taken(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.ready(bastion, "prod", "web").await;
    let gone = house.ready(bastion, "prod", "gone").await;
    let other_ca = Manifest { ca_sha256: Some(super::house::hash("mallory")), ..house.manifest(&work, 5) };
    let mut found = on_volume(&work, Vec::new());
    found.generations = vec![house.manifest(&work, 1), house.manifest(&work, 4), other_ca];
    found.fence = Some(Fence(7));
    let removed = ClusterOnVolume { removed: true, fence: Some(Fence(3)), ..on_volume(&gone, Vec::new()) };
    let taken = take(house, bastion, vec![found, removed]).await;
    assert_eq!(taken.generations, 2, "both are on record");
    let cluster = house.cluster("prod", "web").await;
    assert_eq!(cluster.generation, Some(4), "another CA is never believed");
    assert_eq!(house.cluster("prod", "gone").await.phase, ClusterPhase::Removed);
    house.remove("prod", "web").await;
    assert_eq!(house.lease_one(bastion).await.fence, Fence(8), "above what the volume accepted");
}

async fn a_cluster_that_is_not_known_is_an_orphan_and_left_alone(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.ready(bastion, "prod", "web").await;
    let stranger =
        ClusterOnVolume { cluster: house.id(), name: "new".parse().unwrap(), ..on_volume(&work, Vec::new()) };
    let removed = ClusterOnVolume { cluster: house.id(), removed: true, ..stranger.clone() };
    let taken = take(house, bastion, vec![stranger.clone(), removed]).await;
    assert_eq!(taken.orphans, 1, "one that was removed again is none");
    let other = house.bastion("bastion-b", "*").await;
    take(house, other, vec![on_volume(&work, Vec::new())]).await;
    let page = house.store.orphans(PageRequest { after: None, limit: 10 }).await.unwrap();
    let mut names: Vec<_> = page.items.iter().map(|orphan| (orphan.name.to_string(), orphan.volume)).collect();
    names.sort();
    assert_eq!(names, [("new".to_owned(), bastion.volume), ("web".to_owned(), other.volume)]);
    assert_eq!(house.cluster("prod", "web").await.volume, Some(bastion.volume), "on record it is elsewhere");
}

async fn a_volume_may_be_looked_through_twice(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let report = house.report(&work, RunOutcome::Succeeded);
    let found = vec![on_volume(&work, vec![run(&work, Some(report.clone()))])];
    let first = take(house, bastion, found.clone()).await;
    assert_eq!(take(house, bastion, found.clone()).await.report_again, first.report_again);
    house.settle(bastion, report).await;
    let after = take(house, bastion, found).await;
    assert_eq!((after.report_again.len(), after.settled, after.generations), (0, 0, 0));
}
