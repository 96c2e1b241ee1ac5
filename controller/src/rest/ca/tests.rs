//! The steps of a rotation as administrators take them, and what each answers.

use cratekube_common::domain::environment::Role;
use cratekube_common::runtime::tls;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::rest::testing::{Answer, World};

const CA: &str = "/v1/admin/ca";

async fn step(world: &World, step: &str, body: Value) -> Answer {
    let admin = world.token(Role::Admin, "*");
    world.ask_as(&admin, Method::POST, &format!("{CA}/{step}")).json(&body).send().await
}

async fn show(world: &World) -> Value {
    world.ask_as(&world.token(Role::Admin, "*"), Method::GET, CA).send().await.json()
}

/// How `ca.pem` begins and how many are in it, by fingerprint.
async fn offered(world: &World) -> Vec<String> {
    let pem = world.anonymous(Method::GET, "/ca.pem").send().await.body;
    tls::certificates(&pem).unwrap().iter().map(tls::fingerprint).collect()
}

fn because() -> Value {
    json!({"reason": "as every year"})
}

#[tokio::test]
async fn hostile_row_39_the_ca_is_rotated_in_steps_each_with_a_reason_in_the_audit_log() {
    let world = World::new().await;
    let before = show(&world).await;
    assert_eq!((&before["phase"], &before["behind"]), (&json!("none"), &Value::Null));
    let old = before["roots"][0]["sha256"].as_str().unwrap().to_owned();
    assert_eq!(offered(&world).await, std::slice::from_ref(&old));
    for (name, pointers) in [("rotate", ["/reason"]), ("roll-back", ["/reason"])] {
        assert_eq!(step(&world, name, json!({})).await.pointers(), pointers);
        assert_eq!(
            step(&world, name, json!({"reason": "x", "leave_behind": true})).await.pointers(),
            ["/leave_behind"]
        );
    }
    let rotated = step(&world, "rotate", because()).await;
    assert_eq!(rotated.status, StatusCode::OK, "{}", rotated.text());
    let rotated = rotated.json();
    let new = rotated["roots"][0]["sha256"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert_eq!((&rotated["phase"], &rotated["roots"][0]["stays"]), (&json!("introduced"), &json!(true)));
    assert_eq!((&rotated["roots"][1]["sha256"], &rotated["roots"][1]["shown"]), (&json!(old), &json!(true)));
    assert_eq!(offered(&world).await, [old.clone(), new.clone()]);
    assert_eq!(step(&world, "rotate", because()).await.problem(), "ca-rotation-step");
    assert_eq!(step(&world, "finish", because()).await.problem(), "ca-rotation-step");
    for _twice in 0..2 {
        assert_eq!(step(&world, "switch", because()).await.json()["phase"], "switched");
    }
    let finished = step(&world, "finish", because()).await.json();
    assert_eq!((&finished["phase"], finished["roots"].as_array().unwrap().len()), (&json!("none"), 1));
    assert_eq!(offered(&world).await, std::slice::from_ref(&new));
    let audit: Vec<(String, String)> = world.audit().await.into_iter().map(|e| (e.action, e.object)).collect();
    let ca: Vec<_> = audit.iter().filter(|(action, _)| action.starts_with("ca.")).collect();
    let expected = [("ca.rotate", &old), ("ca.switch", &new), ("ca.switch", &new), ("ca.finish", &new)];
    assert_eq!(ca, expected.map(|(action, root)| (action.to_owned(), root.clone())).iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn hostile_row_39_agents_are_left_behind_on_demand_only_and_by_name() {
    let world = World::new().await;
    world.house.bastion("bastion-1", "*").await;
    step(&world, "rotate", because()).await;
    assert_eq!(show(&world).await["behind"][0]["name"], "bastion-1");
    let refused = step(&world, "switch", because()).await;
    assert_eq!((refused.status, refused.problem().as_str()), (StatusCode::CONFLICT, "agents-behind"));
    let said = refused.json();
    assert!(said["detail"].as_str().unwrap().contains("bastion-1") && said["behind"][0]["online"] == false, "{said}");
    assert_eq!(show(&world).await["phase"], "introduced", "nothing was done");
    let over = json!({"reason": "it will not come back", "leave_behind": true});
    assert_eq!(step(&world, "switch", over.clone()).await.json()["phase"], "switched");
    assert_eq!(step(&world, "finish", because()).await.problem(), "agents-behind");
    assert_eq!(step(&world, "finish", over).await.json()["phase"], "none");
    let log = world.audit().await;
    let last: Vec<(&str, &str)> = log.iter().rev().take(2).map(|e| (&*e.action, &*e.detail)).collect();
    let left = ("ca.finish", "it will not come back (left behind: bastion-1)");
    assert_eq!(last, [("agent.revoke", "left behind by the rotation of the CA"), left]);
    let agents = world.ask_as(&world.token(Role::Admin, "*"), Method::GET, "/v1/admin/agents").send().await.json();
    assert_eq!(agents["items"][0]["state"], "revoked", "its name and its volumes are free");
}

#[tokio::test]
async fn hostile_row_39_a_rotation_that_is_rolled_back_locks_nobody_out() {
    let world = World::new().await;
    let old = show(&world).await["roots"][0]["sha256"].clone();
    step(&world, "rotate", because()).await;
    step(&world, "switch", because()).await;
    let back = step(&world, "roll-back", because()).await.json();
    assert_eq!((&back["phase"], &back["rolled_back"]), (&json!("switched"), &json!(true)));
    assert_eq!((&back["roots"][0]["sha256"], &back["roots"][0]["shown"]), (&old, &json!(true)));
    assert_eq!(offered(&world).await.len(), 2, "the other one is trusted until the end");
    assert_eq!(step(&world, "finish", because()).await.json()["roots"][0]["sha256"], old);
}
