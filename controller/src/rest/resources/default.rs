//! `/v1/environments/{env}/resources`: the set that every new cluster of an environment gets. Clusters that
//! are there already keep what they have.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use cratekube_common::domain::cluster::resource::ResourceName;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::name::EnvironmentName;

use super::manifest::NewResource;
use super::{ResourceChanged, delete, list, put, show};
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::{self, Params};
use crate::rest::state::RestState;
use crate::rest::views::{Listing, ResourceDetail, ResourceView};
use crate::store::Holder;

fn holder(env: &str) -> Result<Holder, Problem> {
    let environment: EnvironmentName = query::name("env", env)?;
    Ok(Holder { environment, cluster: None })
}

fn resource(name: &str) -> Result<ResourceName, Problem> {
    query::name("resource", name)
}

/// The resources that every new cluster of the environment gets, by name.
#[utoipa::path(get, path = "/v1/environments/{env}/resources", tag = "resources",
    params(("env" = String, Path, description = "Environment")),
    responses((status = 200, description = "All of them", body = Listing<ResourceView>)))]
pub(in crate::rest) async fn all(
    State(state): State<RestState>,
    caller: Caller,
    Path(env): Path<String>,
    request: Request,
) -> Result<Json<Listing<ResourceView>>, Problem> {
    let holder = holder(&env)?;
    caller.require(Role::Viewer, &holder.environment)?;
    Params::read(request.uri(), &[])?;
    list(&state, &holder).await
}

/// One of them with its manifest; values of Secrets are masked.
#[utoipa::path(get, path = "/v1/environments/{env}/resources/{resource}", tag = "resources",
    params(("env" = String, Path, description = "Environment"), ("resource" = String, Path, description = "Resource")),
    responses((status = 200, description = "The resource", body = ResourceDetail, headers(("ETag" = String, description = "Its revision")))))]
pub(in crate::rest) async fn one(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, resource_name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (holder, name) = (holder(&env)?, resource(&resource_name)?);
    caller.require(Role::Viewer, &holder.environment)?;
    Params::read(request.uri(), &[])?;
    show(&state, &holder, &name).await
}

/// Have every new cluster of the environment get some Kubernetes YAML.
#[utoipa::path(put, path = "/v1/environments/{env}/resources/{resource}", tag = "resources",
    request_body(content(
        (NewResource = "application/json"),
        (String = "application/yaml", example = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: page\n"))),
    params(("env" = String, Path, description = "Environment"),
        ("resource" = String, Path, description = "Resource: a name of your choice, an RFC 1123 label"),
        ("mode" = Option<String>, Query, description = "`upsert` or `sync`, for a body that is YAML"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the resource that is replaced, or `*`"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: only if there is none")),
    responses(
        (status = 200, description = "Kept, or so before", body = ResourceChanged),
        (status = 201, description = "Kept, and new", body = ResourceChanged)))]
pub(in crate::rest) async fn keep(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, resource_name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (holder, name) = (holder(&env)?, resource(&resource_name)?);
    caller.require(Role::Admin, &holder.environment)?;
    let (parts, body) = request.into_parts();
    put(&state, &caller, (holder, name, Role::Admin), &parts, body).await
}

/// Take a resource out of the set. Clusters that have it keep it.
#[utoipa::path(delete, path = "/v1/environments/{env}/resources/{resource}", tag = "resources",
    params(("env" = String, Path, description = "Environment"), ("resource" = String, Path, description = "Resource"),
        ("If-Match" = Option<String>, Header, description = "Only if the resource still has this `ETag`")),
    responses((status = 204, description = "Gone")))]
pub(in crate::rest) async fn take_away(
    State(state): State<RestState>,
    caller: Caller,
    Path((env, resource_name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (holder, name) = (holder(&env)?, resource(&resource_name)?);
    caller.require(Role::Admin, &holder.environment)?;
    Params::read(request.uri(), &[])?;
    delete(&state, &caller, holder, name, request.headers()).await
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::json;

    use crate::rest::testing::World;
    use cratekube_common::domain::environment::Role;

    const PAGE: &str = "/v1/environments/prod/resources/page";

    fn page(title: &str) -> String {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: page}}\ndata: {{title: {title}}}\n")
    }

    #[tokio::test]
    async fn a_set_is_kept_by_administrators_and_every_new_cluster_gets_it_as_it_is_then() {
        let world = World::new().await;
        let admin = world.token(Role::Admin, "prod");
        let put = |text: String| world.ask_as(&admin, Method::PUT, PAGE).raw("application/yaml", text);
        let operator = world.ask(Method::PUT, PAGE).raw("application/yaml", page("a")).send().await;
        assert_eq!(operator.status, StatusCode::FORBIDDEN);
        let made = put(page("a")).send().await;
        assert_eq!((made.status, made.header("etag")), (StatusCode::CREATED, "\"1\""), "{}", made.text());
        assert_eq!(put(page("a")).send().await.status, StatusCode::OK, "the same again");
        assert_eq!(put(page("b")).send().await.problem(), "if-match-required");
        world.create("first").await;
        let changed = put(page("b")).header("if-match", "\"1\"").send().await;
        assert_eq!((changed.status, changed.header("etag")), (StatusCode::OK, "\"2\""));
        world.create("second").await;
        for (cluster, title) in [("first", "title: a"), ("second", "title: b")] {
            let path = format!("/v1/environments/prod/clusters/{cluster}/resources");
            let list = world.get(&path).await.json();
            assert_eq!((&list["items"][0]["name"], &list["items"][0]["inherited"]), (&json!("page"), &json!(true)));
            assert_eq!(list["items"][0]["state"], "pending");
            let one = world.get(&format!("{path}/page")).await.json();
            assert!(one["manifest"].as_str().unwrap().contains(title), "{one}");
        }
        assert_eq!(world.get("/v1/environments/prod/resources").await.json()["items"][0]["revision"], 2);
        let gone = world.ask_as(&admin, Method::DELETE, PAGE).header("if-match", "\"1\"").send().await;
        assert_eq!(gone.problem(), "resource-changed");
        assert_eq!(world.ask_as(&admin, Method::DELETE, PAGE).send().await.status, StatusCode::NO_CONTENT);
        assert_eq!(world.get(PAGE).await.status, StatusCode::NOT_FOUND);
        let list = world.get("/v1/environments/prod/clusters/first/resources").await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "who has it keeps it");
        let actions: Vec<_> = world.audit().await.into_iter().map(|e| (e.action, e.object)).collect();
        assert!(actions.contains(&("resource.put".into(), "prod/*/page".into())), "{actions:?}");
        assert!(actions.contains(&("resource.delete".into(), "prod/*/page".into())), "{actions:?}");
    }

    #[tokio::test]
    async fn what_is_outside_of_namespaces_is_for_administrators_where_that_is_allowed() {
        let world = World::new().await;
        let class = "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: high}\nvalue: 1\n";
        let put = |role, env: &str| {
            let path = format!("/v1/environments/{env}/resources/class");
            world.ask_as(&world.token(role, "*"), Method::PUT, &path).raw("application/yaml", class).send()
        };
        let refused = put(Role::Admin, "prod").await;
        assert_eq!(refused.problem(), "validation");
        assert!(refused.text().contains("cluster-scoped: document 1"), "{}", refused.text());
        assert_eq!(put(Role::Admin, "lab").await.status, StatusCode::CREATED);
        world.house.provisioned("lab", "web").await;
        let path = "/v1/environments/lab/clusters/web/resources/mine";
        let operator = world.ask_as(&world.token(Role::Operator, "*"), Method::PUT, path);
        let operator = operator.raw("application/yaml", class).send().await;
        assert!(operator.text().contains("cluster-scoped"), "{}", operator.text());
    }
}
