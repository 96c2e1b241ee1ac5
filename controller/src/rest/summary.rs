//! `GET /v1/admin/summary`: what needs somebody, most urgent first.

use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};

use super::caller::Caller;
use super::problem::Problem;
use super::query::Params;
use super::state::RestState;
use super::views::SummaryView;
use crate::plan::attention::Own;

/// Agents try again at least every 30 seconds: by then all that can be are back.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// What needs somebody, most urgent first: agents that are away, volumes that are full or faulty,
/// operations that wait and why, runs out of touch, clusters that are not well, alarms, certificates.
#[utoipa::path(get, path = "/v1/admin/summary", tag = "admin",
    responses((status = 200, description = "The summary", body = SummaryView)))]
pub(super) async fn show(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<SummaryView>, Problem> {
    caller.require_admin()?;
    Params::read(&uri, &[])?;
    let gathering = state.service.clock.monotonic().saturating_sub(state.began) < BACK_WITHIN;
    let rotation = state.changeover.authority().now().progress;
    let own = Own { ends: (state.certificates)(), rotation };
    let summary = state.service.summary(&own, gathering).await?;
    Ok(Json(SummaryView::new(&summary, state.started_at.to_string(), gathering)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cratekube_common::domain::environment::Role;
    use cratekube_common::domain::failure::FailureClass;
    use cratekube_common::domain::run::RunOutcome;
    use http::Method;
    use serde_json::Value;

    use crate::rest::testing::World;
    use crate::store::conformance::house::failure;

    async fn summary(world: &World) -> Value {
        world.ask_as(&world.token(Role::Admin, "*"), Method::GET, "/v1/admin/summary").send().await.json()
    }

    fn kinds(summary: &Value) -> Vec<(&str, &str)> {
        let items = summary["items"].as_array().unwrap();
        items.iter().map(|item| (item["severity"].as_str().unwrap(), item["kind"].as_str().unwrap())).collect()
    }

    #[tokio::test]
    async fn what_needs_somebody_is_told_with_its_remedy_and_where_to_look() {
        let world = World::new().await;
        world.create("web").await;
        let work = world.work().await;
        world.settle(&work, RunOutcome::Failed(failure(FailureClass::Etcd))).await;
        let first = summary(&world).await;
        assert_eq!((&first["gathering"], &first["complete"]), (&true.into(), &true.into()));
        assert_eq!(kinds(&first), [("warning", "cluster-not-well"), ("info", "agent-not-back-yet")], "{first:#}");
        world.house.clock.advance(Duration::from_secs(61));
        world.create("db").await;
        let later = summary(&world).await;
        assert_eq!(later["gathering"], false);
        let expected = [("critical", "agent-offline"), ("warning", "cluster-not-well"), ("info", "operation-waits")];
        assert_eq!(kinds(&later), expected, "{later:#}");
        let agent = &later["items"][0];
        assert_eq!(agent["subject"]["link"], format!("/v1/admin/agents/{}", work.bastion.agent));
        assert!(agent["message"].as_str().unwrap().contains("1 cluster is"), "{agent:#}");
        assert!(later["items"].as_array().unwrap().iter().all(|item| !item["remedy"].as_str().unwrap().is_empty()));
        assert_eq!((&later["counts"]["clusters"], &later["counts"]["operations_waiting"]), (&2.into(), &1.into()));
        assert_eq!((&later["counts"]["agents"], &later["counts"]["agents_online"]), (&1.into(), &0.into()));
    }
}
