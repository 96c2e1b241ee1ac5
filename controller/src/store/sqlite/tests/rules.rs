//! Rules that the database itself keeps, and states that no verb of the contract brings about yet.

use cratekube_common::domain::attempt::AttemptState;
use cratekube_common::domain::cluster::ClusterPhase;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::operation::OperationState;
use cratekube_common::domain::run::{RunOutcome, RunVerdict};
use rusqlite::params;

use super::{house, raw};
use crate::plan::settle::RetryPolicy;
use crate::store::conformance::house::{Bastion, failure, held};
use crate::store::{Acceptance, Applied, Settled};

#[tokio::test]
async fn the_lock_of_a_cluster_holds_whoever_forgets_to_look() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let db = raw(dir.path());
    let again = |state: &str| {
        db.execute(
            "INSERT INTO attempts (id, task, operation, cluster_id, agent, volume, kind, fence, state, leased_at, \
                 output_offset, output_bytes) \
             SELECT ?2, task, operation, cluster_id, agent, volume, kind, fence + 1, ?3, leased_at, 0, 0 \
             FROM attempts WHERE id = ?1",
            params![work.attempt.to_string(), format!("another-{state}"), state],
        )
    };
    for state in ["leased", "started", "unknown"] {
        let refused = again(state).unwrap_err();
        assert!(refused.to_string().contains("attempts.cluster_id"), "{refused}");
    }
    again("released").unwrap();
    let lowered = db.execute("UPDATE clusters SET fence = 0", []).unwrap_err();
    assert!(lowered.to_string().contains("a fence only grows"), "{lowered}");
}

#[tokio::test]
async fn the_index_names_the_same_states_as_the_domain() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let sql: String = raw(dir.path())
        .query_row("SELECT sql FROM sqlite_schema WHERE name = 'attempts_lock'", [], |row| row.get(0))
        .unwrap();
    for state in AttemptState::ALL {
        assert_eq!(sql.contains(&format!("'{state}'")), state.locks(), "{state}");
    }
    house.store.close().await;
}

#[tokio::test]
async fn agents_that_are_cordoned_draining_or_revoked_get_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.provisioned("prod", "other").await;
    for state in ["cordoned", "draining", "quarantined", "revoked"] {
        raw(dir.path()).execute("UPDATE agents SET state = ?1", [state]).unwrap();
        assert!(house.lease(bastion, 4).await.is_empty(), "{state}");
        let verdict = house.connect(bastion, vec![held(&work)]).await[0].1;
        assert_eq!(verdict == RunVerdict::Forget, ["quarantined", "revoked"].contains(&state), "{state}");
    }
    let namesake = house.bastion("bastion-a", "*").await;
    assert_eq!(house.lease(namesake, 4).await.len(), 1, "the name is free again");
}

#[tokio::test]
async fn a_cancel_is_passed_on_and_ends_what_never_started() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let bastion = house.bastion("bastion-a", "*").await;
    let running = house.running(bastion, "prod", "one").await;
    house.provisioned("prod", "two").await;
    let leased = house.lease_one(bastion).await;
    raw(dir.path()).execute("UPDATE operations SET state = 'cancelling'", []).unwrap();
    let verdicts = house.store.lease_verdicts(bastion.agent, vec![running.attempt]).await.unwrap();
    assert_eq!(verdicts, [(running.attempt, RunVerdict::Cancel)]);
    let release =
        house.store.release_attempt(bastion.agent, leased.attempt, leased.fence, "cancelled".into(), house.now());
    assert_eq!(release.await.unwrap(), Applied::Done(leased.operation));
    assert_eq!(house.look(leased.operation).await.state, OperationState::Cancelled);
    let cluster = house.cluster("prod", "two").await;
    assert_eq!((cluster.phase, cluster.operation), (ClusterPhase::Failed, None));
    assert!(house.lease(bastion, 4).await.is_empty());
    house.settle(bastion, house.report(&running, RunOutcome::Succeeded)).await;
    assert_eq!(house.look(running.operation).await.state, OperationState::Succeeded, "it came too late");
}

#[tokio::test]
async fn stale_reports_are_kept_as_evidence_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.ready(bastion, "prod", "web").await;
    let flood = Bastion { agent: house.enrolled("bastion-b", "*").await, ..bastion };
    house.connect(flood, vec![held(&work)]).await;
    let count = |sql: &str| raw(dir.path()).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    for n in 0..20u64 {
        for agent in [bastion, flood] {
            let mut report = house.report(&work, RunOutcome::Failed(failure(FailureClass::Etcd)));
            report.output_bytes = n;
            for _ in 0..2 {
                let stale = house
                    .store
                    .settle_attempt(agent.agent, report.clone(), RetryPolicy::NEVER, house.now())
                    .await
                    .unwrap();
                assert_eq!(stale, Settled::Stale);
            }
        }
    }
    assert_eq!(count("SELECT count(*) FROM quarantine"), 16, "eight of each, however many come");
    for _ in 0..300 {
        let mut report = house.report(&work, RunOutcome::Succeeded);
        report.attempt = house.id();
        house.store.settle_attempt(flood.agent, report, RetryPolicy::NEVER, house.now()).await.unwrap();
    }
    assert_eq!(count("SELECT count(*) FROM quarantine"), 8 + 256);
    assert_eq!(house.cluster("prod", "web").await.phase, ClusterPhase::Ready);
}

#[tokio::test]
async fn a_queued_operation_says_what_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let first = house.provisioned("prod", "one").await;
    let why = |id| {
        let found = house.look(id);
        async { found.await.waiting_for.unwrap_or_default() }
    };
    assert!(why(first.id).await.contains("No agent is enrolled"));
    let bastion = house.bastion("bastion-a", "*").await;
    assert!(why(first.id).await.contains("is online and has a free slot"));
    let work = house.lease_one(bastion).await;
    house.start(bastion, &work).await;
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    let removal = match house.remove("prod", "one").await {
        Acceptance::Accepted(operation) => operation.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(removal).await, "Agent bastion-a is to take it.");
    raw(dir.path()).execute("UPDATE agents SET state = 'cordoned'", []).unwrap();
    assert!(why(removal).await.contains("is cordoned"));
    raw(dir.path()).execute("UPDATE agents SET state = 'revoked'", []).unwrap();
    assert!(why(removal).await.contains("No agent serves state volume"));
}

#[tokio::test]
async fn every_hot_query_is_answered_by_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let db = raw(dir.path());
    let live = "state IN ('leased', 'started', 'unknown')";
    let queries = [
        "SELECT * FROM operations WHERE id = ?1".to_owned(),
        "SELECT * FROM operations WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2".to_owned(),
        "SELECT * FROM operations WHERE seq < ?1 AND environment = ?3 ORDER BY seq DESC LIMIT ?2".to_owned(),
        "SELECT * FROM operations WHERE seq < ?1 AND environment = ?3 AND cluster = ?4 ORDER BY seq DESC LIMIT ?2"
            .to_owned(),
        "SELECT * FROM operations WHERE seq < ?1 AND environment = ?3 AND state = ?4 ORDER BY seq DESC LIMIT ?2"
            .to_owned(),
        "SELECT * FROM clusters WHERE environment = ?1 AND name = ?2 ORDER BY seq DESC LIMIT 1".to_owned(),
        "SELECT * FROM clusters WHERE environment = ?1 AND (name, seq) > (?2, ?3) AND phase <> 'removed' \
         ORDER BY name, seq LIMIT ?4"
            .to_owned(),
        "SELECT * FROM clusters WHERE environment = ?1 AND (name, seq) > (?2, ?3) ORDER BY name, seq LIMIT ?4"
            .to_owned(),
        "SELECT seq FROM tasks WHERE state = 'queued' AND volume = ?1 ORDER BY seq LIMIT ?2".to_owned(),
        "SELECT seq FROM tasks WHERE state = 'queued' AND volume IS NULL AND environment = ?1 ORDER BY seq".to_owned(),
        "SELECT min(environment) FROM tasks WHERE state = 'queued' AND volume IS NULL AND environment > ?1".to_owned(),
        format!("SELECT 1 FROM attempts WHERE cluster_id = ?1 AND {live}"),
        format!("SELECT id FROM attempts WHERE agent = ?1 AND {live} ORDER BY seq"),
        format!("SELECT id FROM attempts WHERE volume = ?1 AND {live} ORDER BY seq"),
        "SELECT * FROM attempts WHERE operation = ?1 ORDER BY seq".to_owned(),
        "SELECT * FROM audit WHERE number < ?1 ORDER BY number DESC LIMIT ?2".to_owned(),
        "SELECT max(number) FROM generations WHERE cluster_id = ?1".to_owned(),
    ];
    for query in queries {
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let nothing = vec![rusqlite::types::Null; explain.parameter_count()];
        let plan = explain.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3)).unwrap();
        for step in plan.map(Result::unwrap) {
            assert!(step.starts_with("SEARCH"), "{query}: {step}");
        }
    }
    house.store.close().await;
}

#[tokio::test]
async fn figures_are_read_from_indexes_of_what_lives() {
    let dir = tempfile::tempdir().unwrap();
    let house = house(dir.path()).await;
    let db = raw(dir.path());
    for query in crate::store::sqlite::figures::QUERIES {
        let mut explain = db.prepare(&format!("EXPLAIN QUERY PLAN {query}")).unwrap();
        let plan = explain.query_map([], |row| row.get::<_, String>(3)).unwrap();
        for step in plan.map(Result::unwrap) {
            let of_volumes = step == "SCAN volumes";
            assert!(
                step.starts_with("SEARCH")
                    || step.contains("USING COVERING INDEX")
                    || step.contains("INDEX tasks_delayed")
                    || of_volumes,
                "{query}: {step}"
            );
        }
    }
    house.store.close().await;
}
