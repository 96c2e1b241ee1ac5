//! `GET /v1/operations`: operations, newest first, in the environments that the caller may see.

use axum::Json;
use axum::extract::{OriginalUri, State};

use crate::rest::caller::Caller;
use crate::rest::cursor::{self, Scope};
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::{Listing, OperationView};
use crate::store::OperationFilter;

/// Operations that you may see, newest first.
#[utoipa::path(get, path = "/v1/operations", tag = "operations",
    params(crate::rest::openapi::PageQuery,
        ("environment" = Option<String>, Query, description = "Of this environment only"),
        ("cluster" = Option<String>, Query, description = "Of clusters of this name only"),
        ("state" = Option<String>, Query, description = "In this state only")),
    responses((status = 200, description = "A page", body = Listing<OperationView>)))]
pub(in crate::rest) async fn list(
    State(state): State<RestState>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Listing<OperationView>>, Problem> {
    let params = Params::read(&uri, &["limit", "cursor", "environment", "cluster", "state"])?;
    let filter = OperationFilter {
        environments: Vec::new(),
        environment: params.parse("environment")?,
        cluster: params.parse("cluster")?,
        state: params.parse("state")?,
    };
    let filters = ["environment", "cluster", "state"].map(|key| params.text(key).unwrap_or_default());
    let scope = Scope { route: "operations", filters: &filters, subject: &caller.actor().subject };
    let page = params.page(&state, &scope)?;
    let found = state.service.operations(caller.actor(), filter, page).await?;
    let next = found.next.map(|position| cursor::seal(&state.mac_key, &scope, &position));
    Ok(Json(Listing { items: found.items.iter().map(OperationView::from).collect(), next }))
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::environment::Role;
    use http::Method;

    use crate::rest::testing::{World, wanted};

    #[tokio::test]
    async fn operations_are_those_of_visible_environments_filtered() {
        let world = World::new().await;
        world.create("web").await;
        world.create("db").await;
        let dev = world.token(Role::Operator, "dev");
        world.ask_as(&dev, Method::POST, "/v1/environments/dev/clusters").json(&wanted("web")).send().await;
        let count = async |token: &str, query: &str| {
            let answer = world.ask_as(token, Method::GET, &format!("/v1/operations{query}")).send().await;
            answer.json()["items"].as_array().map_or(99, Vec::len)
        };
        let all = world.token(Role::Viewer, "*");
        assert_eq!(count(&all, "").await, 3);
        assert_eq!(count(&all, "?cluster=web").await, 2);
        assert_eq!(count(&all, "?cluster=web&environment=prod&state=queued").await, 1);
        assert_eq!(count(&all, "?state=failed").await, 0);
        assert_eq!(count(&dev, "").await, 1);
        assert_eq!(count(&dev, "?environment=prod").await, 0, "another environment looks empty");
        let odd = world.ask_as(&all, Method::GET, "/v1/operations?state=done").send().await;
        assert_eq!(odd.problem(), "invalid-parameter");
    }
}
