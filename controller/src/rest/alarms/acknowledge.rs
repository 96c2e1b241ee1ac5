//! `POST /v1/admin/alarms/{number}/acknowledge`: somebody has seen to it.

use axum::Json;
use axum::extract::{Path, Request, State};

use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::reason::{self, Reason};
use crate::rest::state::RestState;
use crate::rest::views::AlarmView;

/// Say that you have seen to an alarm, and what you found or did. It rings anew when it happens again.
#[utoipa::path(post, path = "/v1/admin/alarms/{number}/acknowledge", tag = "admin", request_body = Option<Reason>,
    params(("number" = u64, Path, description = "Alarm"), ("reason" = Option<String>, Query, description = "What was found or done, when there is no body; one of the two is required")),
    responses((status = 200, description = "The alarm, no longer open", body = AlarmView)))]
pub(in crate::rest) async fn acknowledge(
    State(state): State<RestState>,
    caller: Caller,
    Path(number): Path<String>,
    request: Request,
) -> Result<Json<AlarmView>, Problem> {
    caller.require_admin()?;
    let number: u64 = number.parse().map_err(|_| Problem::not_found())?;
    let number = i64::try_from(number).map_or(Err(Problem::not_found()), |_| Ok(number))?;
    let (reason, _) = reason::said(&state, request).await?;
    let alarm = state.service.acknowledge_alarm(caller.actor(), number, reason).await?;
    Ok(Json(AlarmView::from(&alarm)))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::{Method, StatusCode};
    use serde_json::{Value, json};

    use crate::rest::testing::{Answer, World};

    const ALARMS: &str = "/v1/admin/alarms";

    async fn listed(world: &World, query: &str) -> Vec<Value> {
        let admin = world.token(Role::Admin, "*");
        let answer = world.ask_as(&admin, Method::GET, &format!("{ALARMS}{query}")).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()["items"].as_array().unwrap().clone()
    }

    async fn acknowledge(world: &World, number: &Value, body: Value) -> Answer {
        let path = format!("{ALARMS}/{number}/acknowledge");
        world.ask_as(&world.token(Role::Admin, "*"), Method::POST, &path).json(&body).send().await
    }

    #[tokio::test]
    async fn hostile_row_29_an_alarm_is_listed_told_and_seen_to_with_a_reason() {
        let world = World::new().await;
        world.house.token("secret", "*").await;
        for name in ["bastion-1", "thief", "thief"] {
            world.house.store.enroll_agent(world.house.enrolment("secret", name)).await.unwrap();
        }
        let [alarm] = listed(&world, "?state=open").await.try_into().unwrap();
        assert_eq!(
            (&alarm["kind"], &alarm["count"], &alarm["open"]),
            (&json!("join-token-reused"), &2.into(), &true.into())
        );
        assert!(alarm["remedy"].as_str().unwrap().contains("revoke"), "{alarm:#}");
        let number = alarm["number"].clone();
        assert_eq!(acknowledge(&world, &number, json!({})).await.pointers(), ["/reason"]);
        let seen = acknowledge(&world, &number, json!({"reason": "a script ran twice"})).await;
        let word = &seen.json()["acknowledged"];
        assert_eq!((&word["by"], &word["reason"]), (&json!("ann"), &json!("a script ran twice")), "{}", seen.text());
        let again = acknowledge(&world, &number, json!({"reason": "x"})).await;
        assert_eq!((again.status, again.problem().as_str()), (StatusCode::CONFLICT, "alarm-acknowledged"));
        assert_eq!(acknowledge(&world, &json!(99), json!({"reason": "x"})).await.problem(), "not-found");
        assert_eq!(acknowledge(&world, &json!(u64::MAX), json!({"reason": "x"})).await.problem(), "not-found");
        assert!(listed(&world, "?state=open").await.is_empty());
        assert_eq!(listed(&world, "?state=acknowledged").await.len(), 1);
        let entry = world.audit().await.pop().unwrap();
        assert_eq!((entry.action.as_str(), entry.detail.as_str()), ("alarm.acknowledge", "a script ran twice"));
        let admin = world.token(Role::Admin, "*");
        let odd = world.ask_as(&admin, Method::GET, &format!("{ALARMS}?state=x")).send().await;
        assert_eq!(odd.problem(), "invalid-parameter");
        let told = world.ask_as(&admin, Method::GET, "/v1/events?kind=alarm").send().await.json();
        let kinds: Vec<_> = told["items"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
        assert_eq!(kinds, ["alarm.raised", "alarm.acknowledged"]);
        let blind = world.get("/v1/events?kind=alarm").await.json();
        assert_eq!(blind["items"], json!([]), "for administrators");
    }
}
