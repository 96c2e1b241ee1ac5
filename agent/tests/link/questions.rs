//! Questions of the controller: answered on the session they came on, in time, and by those who know how.

use cratekube_common::domain::failure::FailureClass;
use cratekube_common::domain::id::QueryId;
use cratekube_common::domain::query::Answer;
use cratekube_proto::convert::query;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use uuid::Uuid;

use crate::support::World;
use crate::support::controller::TestSession;

fn question(n: u128, name: &str) -> v1::Query {
    let id = Uuid::from_u128(9).to_string();
    v1::Query {
        id: Uuid::from_u128(n).to_string(),
        kind: "kubeconfig".into(),
        cluster: id.clone(),
        environment: "prod".into(),
        name: name.into(),
        volume: id,
        input_json: format!("{{\"n\":{n}}}"),
        patience_ms: 20_000,
    }
}

async fn answer(session: &mut TestSession) -> (QueryId, Answer) {
    let answer = session.until(|message| if let Up::Answer(answer) = message { Some(answer) } else { None }).await;
    query::read_answer(answer).unwrap()
}

#[tokio::test]
async fn a_question_is_answered_on_its_session_beside_everything_else() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    assert_eq!(session.hello.answers, ["kubeconfig"], "the controller asks nothing else");
    session.send(Down::Query(question(1, "silent"))).await;
    session.send(Down::Query(question(2, "web"))).await;
    let (id, answered) = answer(&mut session).await;
    assert_eq!(id, Uuid::from_u128(2).into(), "one that takes its time keeps none waiting");
    assert_eq!(answered.unwrap().expose(), "{\"n\":2}");
    world.engine.set_slots(2);
    assert_eq!(
        session.until(|m| if let Up::Ready(ready) = m { (ready.slots == 2).then_some(2) } else { None }).await,
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_question_without_an_answer_in_its_time_is_told_so() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    session.send(Down::Query(v1::Query { patience_ms: 3_000, ..question(1, "silent") })).await;
    let failure = answer(&mut session).await.1.unwrap_err();
    assert_eq!((failure.class, failure.retryable), (FailureClass::Timeout, true));
    assert!(failure.message.contains("3 s"), "{}", failure.message);
}

#[tokio::test]
async fn hostile_row_52_what_is_not_known_or_cannot_be_read_is_answered_and_a_flood_is_not_taken() {
    let mut world = World::new().await;
    let mut session = world.session().await;
    for (broken, words) in [
        (
            v1::Query { kind: "horoscope".into(), ..question(1, "web") },
            "does not answer questions of the kind horoscope",
        ),
        (v1::Query { environment: "../etc".into(), ..question(2, "web") }, "environment"),
        (v1::Query { input_json: "{".into(), ..question(3, "web") }, "input_json"),
    ] {
        let id = broken.id.clone();
        session.send(Down::Query(broken)).await;
        let (answered, failure) = answer(&mut session).await;
        let failure = failure.unwrap_err();
        assert!(answered.to_string() == id && failure.message.contains(words), "{failure:?}");
    }
    for n in 10..26 {
        session.send(Down::Query(question(n, "silent"))).await;
    }
    session.send(Down::Query(question(26, "web"))).await;
    let (id, busy) = answer(&mut session).await;
    assert_eq!(id, Uuid::from_u128(26).into());
    assert!(busy.unwrap_err().message.contains("16 questions already"));
}
