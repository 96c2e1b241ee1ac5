//! Output: every byte once, in order, durable when answered.

use bytes::Bytes;
use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::run::RunOutcome;

use super::family;
use super::house::{Bastion, House, failure, older};
use crate::store::OutputAppended;

family![
    bytes_are_read_back_and_survive_reopening,
    hostile_row_44_what_is_stored_is_skipped_and_a_gap_stores_nothing,
    output_of_strangers_and_of_settled_runs_is_not_stored,
    the_runs_of_an_operation_follow_one_another,
    pieces_sent_without_waiting_are_all_stored,
    many_operations_write_at_once,
    output_is_complete_when_the_operation_is_over,
    hostile_row_72_a_secret_is_masked_across_pieces_and_restarts_and_never_shown_in_between,
    hostile_row_72_what_began_like_a_secret_and_is_none_is_shown_when_that_is_clear,
];

async fn whole(house: &House, operation: cratekube_common::domain::id::OperationId) -> String {
    let piece = house.store.read_output(operation, 0, 1 << 20).await.unwrap();
    assert_eq!(piece.data.len() as u64, piece.end);
    String::from_utf8(piece.data.to_vec()).unwrap()
}

async fn bytes_are_read_back_and_survive_reopening(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    assert_eq!(house.append(bastion, &work, 0, "").await, Some(0), "nothing yet");
    assert_eq!(house.append(bastion, &work, 0, "hello ").await, Some(6));
    assert_eq!(house.append(bastion, &work, 6, "world").await, Some(11));
    assert_eq!(house.look(work.operation).await.output_bytes, 11);
    house.reopen().await;
    assert_eq!(house.append(bastion, &work, 0, "").await, Some(11), "asks what is stored");
    assert_eq!(whole(house, work.operation).await, "hello world");
    let piece = house.store.read_output(work.operation, 4, 3).await.unwrap();
    assert_eq!((&piece.data[..], piece.end, piece.complete), (&b"o w"[..], 11, false));
    let past = house.store.read_output(work.operation, 99, 3).await.unwrap();
    assert_eq!((past.data.len(), past.end), (0, 11));
    assert_eq!(house.append(bastion, &work, 11, "!").await, Some(12));
    assert_eq!(whole(house, work.operation).await, "hello world!");
}

async fn hostile_row_44_what_is_stored_is_skipped_and_a_gap_stores_nothing(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    assert_eq!(house.append(bastion, &work, 5, "gap").await, Some(0));
    assert_eq!(house.append(bastion, &work, 0, "abcd").await, Some(4));
    assert_eq!(house.append(bastion, &work, 0, "XXXX").await, Some(4), "said before");
    assert_eq!(house.append(bastion, &work, 2, "XXef").await, Some(6), "half of it is new");
    assert_eq!(house.append(bastion, &work, 7, "h").await, Some(6));
    assert_eq!(house.append(bastion, &work, u64::MAX, "hh").await, Some(6));
    assert_eq!(whole(house, work.operation).await, "abcdef");
}

async fn output_of_strangers_and_of_settled_runs_is_not_stored(house: &mut House) {
    let (bastion, other) = (house.bastion("bastion-a", "*").await, house.bastion("bastion-b", "*").await);
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "mine").await;
    assert_eq!(house.append(other, &work, 4, "not mine").await, None);
    let data = Bytes::from_static(b"old");
    let old = house
        .store
        .append_output(bastion.agent, work.attempt, older(work.fence), 4, data.clone(), house.now())
        .await
        .unwrap();
    assert_eq!(old, OutputAppended::Closed);
    let nobody = house.store.append_output(bastion.agent, house.id(), work.fence, 4, data, house.now()).await.unwrap();
    assert_eq!(nobody, OutputAppended::Closed);
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(house.append(bastion, &work, 4, "late").await, None);
    assert_eq!(house.append(bastion, &work, 0, "").await, None);
    assert_eq!(whole(house, work.operation).await, "mine");
}

async fn the_runs_of_an_operation_follow_one_another(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    house.provisioned("prod", "web").await;
    let first = house.lease_one(bastion).await;
    house.append(bastion, &first, 0, "not begun\n").await;
    let release = house.store.release_attempt(bastion.agent, first.attempt, first.fence, "full".into(), house.now());
    release.await.unwrap();
    let second = house.lease_one(bastion).await;
    assert_eq!(house.append(bastion, &second, 0, "begun").await, Some(5), "offsets are the run's own");
    assert_eq!(whole(house, second.operation).await, "not begun\nbegun");
    let attempts = house.store.attempts(second.operation).await.unwrap();
    let places: Vec<_> = attempts.iter().map(|a| (a.output_offset, a.output_bytes)).collect();
    assert_eq!(places, [(0, 10), (10, 5)]);
}

/// Sends pieces of a known pattern, all at once, in the order given.
async fn send_at_once(
    house: &House,
    bastion: Bastion,
    work: &cratekube_common::domain::run::Assignment,
    order: &[u64],
) {
    let sent = order.iter().map(|n| {
        let data = Bytes::from(format!("{n:07}\n"));
        house.store.append_output(bastion.agent, work.attempt, work.fence, n * 8, data, house.now())
    });
    for answer in futures::future::join_all(sent).await {
        assert!(matches!(answer.unwrap(), OutputAppended::Stored { .. }));
    }
}

async fn pieces_sent_without_waiting_are_all_stored(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    let order: Vec<u64> = (0..200).collect();
    let mut stored = 0;
    while stored < 1_600 {
        send_at_once(house, bastion, &work, &order).await;
        stored = house.append(bastion, &work, 0, "").await.unwrap();
    }
    let expected: String = order.iter().map(|n| format!("{n:07}\n")).collect();
    assert_eq!(whole(house, work.operation).await, expected);
}

async fn many_operations_write_at_once(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    for n in 0..100 {
        house.provisioned("prod", &format!("web-{n}")).await;
    }
    let work: Vec<_> = house.lease(bastion, 100).await.into_iter().map(|task| task.assignment).collect();
    assert_eq!(work.len(), 100);
    let house = &*house;
    for round in 0..3 {
        let writes = work.iter().map(|work| async move {
            let line = format!("{} {round}\n", work.name);
            let offset = (line.len() * round) as u64;
            house.append(bastion, work, offset, &line).await
        });
        futures::future::join_all(writes).await;
    }
    for work in work {
        let expected: String = (0..3).map(|round| format!("{} {round}\n", work.name)).collect();
        assert_eq!(whole(house, work.operation).await, expected);
    }
}

async fn output_is_complete_when_the_operation_is_over(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let waiting = house.provisioned("prod", "web").await;
    let none = house.store.read_output(waiting.id, 0, 10).await.unwrap();
    assert_eq!((none.end, none.complete), (0, false));
    let work = house.lease_one(bastion).await;
    house.append(bastion, &work, 0, "done").await;
    assert!(!house.store.read_output(work.operation, 0, 10).await.unwrap().complete);
    house.settle(bastion, house.report(&work, RunOutcome::Failed(failure(FailureClass::Etcd)))).await;
    let piece = house.store.read_output(work.operation, 0, 10).await.unwrap();
    assert_eq!((&piece.data[..], piece.complete), (&b"done"[..], true));
    assert!(house.store.read_output(house.id(), 0, 10).await.unwrap().complete, "of nothing nothing comes");
}

/// What a reader sees.
async fn shown(house: &House, operation: cratekube_common::domain::id::OperationId) -> String {
    let piece = house.store.read_output(operation, 0, 1 << 20).await.unwrap();
    String::from_utf8(piece.data.to_vec()).unwrap()
}

async fn hostile_row_72_a_secret_is_masked_across_pieces_and_restarts_and_never_shown_in_between(house: &mut House) {
    let text = "id AKIAABCDEFGHIJKLMNOP of http://u:geheim-1@host/ -----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG\n\
                -----END PRIVATE KEY-----\n\"password\": \"hunter2\\\"\"\n";
    let expected = "id AKIA**************** of http://u:********@host/ -----BEGIN PRIVATE KEY-----\n****************\n****\n\
                    -----END PRIVATE KEY-----\n\"password\": \"*********\"\n";
    let bastion = house.bastion("bastion-a", "*").await;
    for (name, length) in [("web-1", 1), ("web-7", 7), ("web-30", 30)] {
        let work = house.running(bastion, "prod", name).await;
        let mut offset = 0;
        for (n, piece) in text.as_bytes().chunks(length).enumerate() {
            let end = (offset + piece.len()) as u64;
            let piece = std::str::from_utf8(piece).unwrap();
            let stored = house.append(bastion, &work, offset as u64, piece).await;
            assert_eq!(stored, Some(end), "acknowledged at once");
            offset += piece.len();
            assert!(expected.starts_with(&shown(house, work.operation).await), "after {offset} bytes");
            if n % 16 == 5 {
                house.reopen().await;
                assert!(expected.starts_with(&shown(house, work.operation).await), "reopened after {offset} bytes");
            }
        }
        assert_eq!(whole(house, work.operation).await, expected);
        house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    }
}

async fn hostile_row_72_what_began_like_a_secret_and_is_none_is_shown_when_that_is_clear(house: &mut House) {
    let bastion = house.bastion("bastion-a", "*").await;
    let work = house.running(bastion, "prod", "web").await;
    house.append(bastion, &work, 0, "from http://10.0.0.1:50").await;
    assert_eq!(shown(house, work.operation).await, "from http://10.0.0.1:");
    house.append(bastion, &work, 23, "00/v2/ to AKIAX").await;
    assert_eq!(shown(house, work.operation).await, "from http://10.0.0.1:5000/v2/ to AKIA");
    house.reopen().await;
    assert_eq!(shown(house, work.operation).await, "from http://10.0.0.1:5000/v2/ to AKIA");
    house.settle(bastion, house.report(&work, RunOutcome::Succeeded)).await;
    assert_eq!(whole(house, work.operation).await, "from http://10.0.0.1:5000/v2/ to AKIAX");
}
