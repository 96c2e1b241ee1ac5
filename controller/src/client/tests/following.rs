//! Operations that are followed, over connections that break.

use serde_json::{Value, json};

use super::{OPERATION, failed, operation, play};
use crate::client::exit::Exit;
use crate::client::testing::{Reply, Script};

fn event(name: &str, id: Option<u64>, data: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("event: {name}\n{id}data: {data}\n\n")
}

fn output(offset: u64, text: &str) -> String {
    event("output", Some(offset + text.len() as u64), &json!({"offset": offset, "text": text}))
}

fn progress(step: u64, phase: &str) -> String {
    event(
        "progress",
        None,
        &json!({"state": "running", "phase": phase, "step": step, "steps": 12, "waiting_for": null}),
    )
}

fn end(operation: &Value) -> String {
    event("end", None, operation)
}

fn last_event_ids(script: &Script) -> Vec<String> {
    let id = |request: &String| Some(request.lines().find_map(|l| l.strip_prefix("last-event-id: "))?.to_owned());
    script.asked().iter().filter_map(id).collect()
}

#[tokio::test(start_paused = true)]
async fn followed_output_goes_on_where_it_broke_without_gap_or_duplicate() {
    let half = output(9, "lost with the connection\n");
    let first = format!("retry: 2000\n\n{}{}", output(0, "one\n"), output(4, "two\nü"));
    let script = Script::of([
        Reply::events(&format!("{first}{}", &half[..half.len() / 2])),
        Reply::Down,
        Reply::events(": still here\n\n"),
        Reply::events(&format!("{}{}", output(10, "\nthree\n"), event("closing", None, &json!({"reason": "restart"})))),
        Reply::events(&format!("{}{}", output(17, "four\n"), end(&operation("succeeded")))),
    ]);
    let (exit, written) = play(&script, &format!("cratekube operation output -f {OPERATION}")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "one\ntwo\nü\nthree\nfour\n"), "{}", written.err());
    assert_eq!(last_event_ids(&script), ["0", "10", "10", "17"]);
}

#[tokio::test]
async fn an_event_that_does_not_follow_the_one_before_it_is_a_fault() {
    for second in [output(5, "gap"), output(3, "again")] {
        let script = Script::of([Reply::events(&format!("{}{second}", output(0, "one\n")))]);
        let (exit, written) = play(&script, &format!("cratekube operation output -f {OPERATION}")).await;
        assert_eq!((exit, written.out().as_str()), (Exit::Unavailable, "one\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn following_gives_up_when_the_controller_stays_away() {
    let mut replies = vec![Reply::events(&output(0, "one\n"))];
    replies.extend(vec![Reply::Down; 500]);
    let (exit, written) = play(&Script::of(replies), &format!("cratekube operation output -f {OPERATION}")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Unavailable, "one\n"));
}

#[tokio::test]
async fn a_failed_operation_ends_its_output_with_the_reason() {
    let script = Script::of([Reply::events(&format!("{}{}", output(0, "one\n"), end(&failed())))]);
    let (exit, written) = play(&script, &format!("cratekube operation output -f {OPERATION}")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Failed, "one\n"));
    insta::assert_snapshot!("failed", written.err());
}

#[tokio::test]
async fn watching_shows_each_step_and_the_outcome() {
    let mut now = operation("running");
    now["output_bytes"] = json!(40);
    let events = format!("{}{}{}", progress(11, "Syncing nodes"), output(40, "x"), end(&operation("succeeded")));
    let replies = |last: &Value| [Reply::json(200, &now), Reply::events(&events), Reply::json(200, last)];
    let script = Script::of(replies(&operation("succeeded")));
    let (exit, written) = play(&script, &format!("cratekube operation watch {OPERATION}")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "The provision of prod/web succeeded.\n"));
    assert_eq!(written.err(), "[10/12] Deploying workers\n[11/12] Syncing nodes\n");
    assert_eq!(last_event_ids(&script), ["40"], "output that is there already is not sent");
    let script = Script::of(replies(&failed()));
    let (exit, written) = play(&script, &format!("cratekube operation watch {OPERATION} -o json")).await;
    let told: Value = serde_json::from_str(&written.out()).unwrap();
    assert_eq!((exit, &told["failure"]["class"]), (Exit::Failed, &json!("auth")), "programs get the document too");
    assert!(written.err().contains("what to do: Put the agent's"), "{}", written.err());
}

#[tokio::test]
async fn an_operation_that_has_ended_is_told_at_once() {
    for (state, exit) in [("succeeded", Exit::Done), ("failed", Exit::Failed), ("cancelled", Exit::Cancelled)] {
        let script = Script::of([Reply::json(200, &operation(state))]);
        assert_eq!(play(&script, &format!("cratekube operation watch {OPERATION}")).await.0, exit);
    }
}

#[tokio::test]
async fn a_cancellation_is_done_when_the_operation_is_cancelled() {
    let accepted = Reply::json(202, &json!({"operation": operation("cancelling"), "cluster": null, "warnings": []}));
    let line = format!("cratekube operation cancel {OPERATION} --wait");
    let run = async |last: &Value| {
        let events = Reply::events(&end(last));
        let now = Reply::json(200, &operation("cancelling"));
        play(&Script::of([accepted.clone(), now, events, Reply::json(200, last)]), &line).await
    };
    let (exit, written) = run(&operation("cancelled")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Done, "The provision of prod/web is cancelled.\n"));
    let (exit, written) = run(&operation("succeeded")).await;
    assert_eq!((exit, written.out().as_str()), (Exit::Failed, ""));
    assert!(written.err().contains("before it could be cancelled"), "{}", written.err());
}

#[tokio::test(start_paused = true)]
async fn watching_ends_with_the_time_that_was_given_and_says_that_the_operation_goes_on() {
    let open = format!("{}{}", progress(10, "Deploying workers"), ": still here\n\n");
    let mut replies = vec![Reply::json(200, &operation("running"))];
    replies.extend(vec![Reply::events(&open); 1_500]);
    let (exit, written) = play(&Script::of(replies), &format!("cratekube operation watch {OPERATION} --for 10m")).await;
    assert_eq!(exit, Exit::Unavailable);
    insta::assert_snapshot!("too_late", written.err());
}
