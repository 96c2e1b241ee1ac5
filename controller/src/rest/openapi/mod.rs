//! `GET /openapi.json`: the API's own description, OpenAPI 3.1.
//!
//! A test compares it with the router: a route without a description fails it. Its examples are made in
//! [`examples`].

mod examples;
mod spec;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi as Description, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoParams, Modify, OpenApi};

use super::problem::{MEDIA_TYPE, ProblemDocument};
use super::{
    agents, alarms, api_keys, audit, auth, ca, catalogue, clusters, environments, events, generations, health, install,
    join_tokens, operations, orphan_scans, orphans, output, problems, quarantine, resources, revisions, revocations,
    signing_keys, summary, ui, volumes,
};

pub(super) use spec::Spec;

/// What pages are asked for with.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes parameters that `query` reads")]
pub(super) struct PageQuery {
    /// Items at most; more than 200 is cut to 200.
    #[param(minimum = 1, default = 50)]
    limit: Option<u32>,
    /// The `next` of the page before.
    cursor: Option<String>,
}

/// Makes a repeated request find the first one's operation.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes a header that `idempotency` reads")]
pub(super) struct IdempotencyHeader {
    /// 1 to 255 visible ASCII characters of your choice; remembered for a day.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "CrateKube Cluster Management Service",
        description = "Kubernetes clusters by description: send what you want, watch the operation, and have it.",
        version = "1.0.0",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        health::healthz,
        health::readyz,
        problems::show,
        ui::lead,
        ui::page,
        ui::file,
        ca::pem,
        install::show,
        install::agent,
        show,
        auth::token::exchange,
        auth::whoami::whoami,
        auth::logout::logout,
        environments::list,
        clusters::list::list,
        clusters::create::create,
        clusters::show::show,
        clusters::update::update,
        clusters::plan::plan,
        clusters::remove::remove,
        clusters::protect::protect,
        clusters::recover_state::recover_state,
        clusters::force_unlock::force_unlock,
        clusters::kubeconfig::kubeconfig,
        clusters::health::health,
        clusters::health::verify,
        clusters::rotate::rotate,
        generations::list,
        revisions::list,
        resources::of_cluster::all,
        resources::of_cluster::one,
        resources::of_cluster::keep,
        resources::of_cluster::take_away,
        resources::default::all,
        resources::default::one,
        resources::default::keep,
        resources::default::take_away,
        catalogue::show,
        clusters::provision::provision,
        events::show,
        operations::list::list,
        operations::show::show,
        operations::abandon::abandon,
        operations::residue::residue,
        operations::cancel::cancel,
        operations::retry::retry,
        output::show,
        agents::list::list,
        agents::show::show,
        agents::history::list,
        summary::show,
        volumes::list,
        volumes::show,
        agents::bar::revoke,
        agents::bar::ban,
        agents::bar::unban,
        join_tokens::list::list,
        join_tokens::create::create,
        join_tokens::withdraw::withdraw,
        api_keys::list::list,
        api_keys::create::create,
        api_keys::revoke::revoke,
        revocations::list::list,
        revocations::create::create,
        signing_keys::list,
        signing_keys::rotate,
        ca::show,
        ca::rotate,
        ca::switch,
        ca::roll_back,
        ca::finish,
        alarms::list::list,
        alarms::acknowledge::acknowledge,
        audit::list,
        agents::change::cordon,
        agents::change::uncordon,
        agents::change::drain,
        agents::forget::forget,
        orphans::list,
        orphan_scans::begin,
        orphan_scans::list,
        orphan_scans::show,
        quarantine::list
    ),
    components(schemas(ProblemDocument)),
    security(("bearer" = [])),
    modifiers(&Common)
)]
struct Api;

/// What holds for every operation: the token, and problem documents for all that goes wrong.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut Description) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
        let problem = ResponseBuilder::new()
            .description("Anything else: a problem document (RFC 9457)")
            .content(MEDIA_TYPE, Content::new(Some(schema)))
            .build();
        for item in api.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.delete, &mut item.put, &mut item.patch];
            for operation in operations.into_iter().flatten() {
                operation.responses.responses.insert("default".to_owned(), RefOr::T(problem.clone()));
            }
        }
    }
}

/// The description.
#[must_use]
pub fn description() -> Description {
    Api::openapi()
}

static DOCUMENT: LazyLock<Bytes> = LazyLock::new(document);

/// The description with its examples, as it is sent.
fn document() -> Bytes {
    let Ok(mut document) = serde_json::to_value(description()) else { return Bytes::new() };
    examples::add(&mut document);
    Bytes::from(document.to_string())
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "description",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
pub(super) async fn show() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}
