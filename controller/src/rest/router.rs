//! All routes, on one page.

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};

use super::caller::authenticate;
use super::furnish::furnish;
use super::problem::Problem;
use super::state::RestState;
use super::{
    agents, alarms, api_keys, audit, auth, ca, catalogue, clusters, environments, events, generations, health, install,
    join_tokens, openapi, operations, orphan_scans, orphans, output, problems, quarantine, resources, revisions,
    revocations, signing_keys, summary, ui, volumes,
};

type Route = (&'static str, MethodRouter<RestState>);

/// Routes that anyone may use.
pub(super) fn open() -> Vec<Route> {
    vec![
        ("/healthz", get(health::healthz)),
        ("/readyz", get(health::readyz)),
        ("/problems/{kind}", get(problems::show)),
        ("/ui", get(ui::lead)),
        ("/ui/", get(ui::page)),
        ("/ui/{file}", get(ui::file)),
        ("/ca.pem", get(ca::pem)),
        ("/install.sh", get(install::show)),
        ("/install/agent/{file}", get(install::agent)),
        ("/v1/auth/token", post(auth::token::exchange)),
    ]
}

/// Routes that need a token; each asks for its role itself.
pub(super) fn guarded() -> Vec<Route> {
    vec![
        ("/openapi.json", get(openapi::show)),
        ("/v1/catalogue", get(catalogue::show)),
        ("/v1/auth/whoami", get(auth::whoami::whoami)),
        ("/v1/auth/logout", post(auth::logout::logout)),
        ("/v1/environments", get(environments::list)),
        ("/v1/environments/{env}/clusters", get(clusters::list::list).post(clusters::create::create)),
        (
            "/v1/environments/{env}/clusters/{name}",
            get(clusters::show::show)
                .put(clusters::update::update)
                .delete(clusters::remove::remove)
                .patch(clusters::protect::protect),
        ),
        ("/v1/environments/{env}/clusters/{name}/force-unlock", post(clusters::force_unlock::force_unlock)),
        ("/v1/environments/{env}/clusters/{name}/generations", get(generations::list)),
        ("/v1/environments/{env}/clusters/{name}/health", get(clusters::health::health)),
        ("/v1/environments/{env}/clusters/{name}/rotate-certificates", post(clusters::rotate::rotate)),
        ("/v1/environments/{env}/clusters/{name}/verify", post(clusters::health::verify)),
        ("/v1/environments/{env}/clusters/{name}/kubeconfig", post(clusters::kubeconfig::kubeconfig)),
        ("/v1/environments/{env}/clusters/{name}/plan", post(clusters::plan::plan)),
        ("/v1/environments/{env}/clusters/{name}/revisions", get(revisions::list)),
        ("/v1/environments/{env}/clusters/{name}/provision", post(clusters::provision::provision)),
        ("/v1/environments/{env}/clusters/{name}/recover-state", post(clusters::recover_state::recover_state)),
        ("/v1/environments/{env}/clusters/{name}/resources", get(resources::of_cluster::all)),
        (
            "/v1/environments/{env}/clusters/{name}/resources/{resource}",
            get(resources::of_cluster::one).put(resources::of_cluster::keep).delete(resources::of_cluster::take_away),
        ),
        ("/v1/environments/{env}/resources", get(resources::default::all)),
        (
            "/v1/environments/{env}/resources/{resource}",
            get(resources::default::one).put(resources::default::keep).delete(resources::default::take_away),
        ),
        ("/v1/events", get(events::show)),
        ("/v1/operations", get(operations::list::list)),
        ("/v1/operations/{id}", get(operations::show::show)),
        ("/v1/operations/{id}/abandon", post(operations::abandon::abandon)),
        ("/v1/operations/{id}/residue", get(operations::residue::residue)),
        ("/v1/operations/{id}/cancel", post(operations::cancel::cancel)),
        ("/v1/operations/{id}/output", get(output::show)),
        ("/v1/operations/{id}/retry", post(operations::retry::retry)),
        ("/v1/admin/agents", get(agents::list::list)),
        ("/v1/admin/agents/{id}", get(agents::show::show)),
        ("/v1/admin/agents/{id}/history", get(agents::history::list)),
        ("/v1/admin/summary", get(summary::show)),
        ("/v1/admin/volumes", get(volumes::list)),
        ("/v1/admin/volumes/{id}", get(volumes::show)),
        ("/v1/admin/agents/{id}/revoke", post(agents::bar::revoke)),
        ("/v1/admin/agents/{id}/ban", post(agents::bar::ban)),
        ("/v1/admin/agents/{id}/unban", post(agents::bar::unban)),
        ("/v1/admin/join-tokens", get(join_tokens::list::list).post(join_tokens::create::create)),
        ("/v1/admin/join-tokens/{id}", delete(join_tokens::withdraw::withdraw)),
        ("/v1/admin/api-keys", get(api_keys::list::list).post(api_keys::create::create)),
        ("/v1/admin/api-keys/{id}", delete(api_keys::revoke::revoke)),
        ("/v1/admin/revocations", get(revocations::list::list).post(revocations::create::create)),
        ("/v1/admin/signing-keys", get(signing_keys::list)),
        ("/v1/admin/signing-keys/rotate", post(signing_keys::rotate)),
        ("/v1/admin/ca", get(ca::show)),
        ("/v1/admin/ca/rotate", post(ca::rotate)),
        ("/v1/admin/ca/switch", post(ca::switch)),
        ("/v1/admin/ca/roll-back", post(ca::roll_back)),
        ("/v1/admin/ca/finish", post(ca::finish)),
        ("/v1/admin/alarms", get(alarms::list::list)),
        ("/v1/admin/alarms/{number}/acknowledge", post(alarms::acknowledge::acknowledge)),
        ("/v1/admin/audit", get(audit::list)),
        ("/v1/admin/agents/{id}/cordon", post(agents::change::cordon)),
        ("/v1/admin/agents/{id}/drain", post(agents::change::drain)),
        ("/v1/admin/agents/{id}/forget", post(agents::forget::forget)),
        ("/v1/admin/agents/{id}/uncordon", post(agents::change::uncordon)),
        ("/v1/admin/quarantine", get(quarantine::list)),
        ("/v1/admin/orphans", get(orphans::list)),
        ("/v1/admin/orphan-scans", get(orphan_scans::list).post(orphan_scans::begin)),
        ("/v1/admin/orphan-scans/{id}", get(orphan_scans::show)),
    ]
}

/// The REST API.
pub fn router(state: RestState) -> Router {
    assemble(state, open(), guarded())
}

/// Puts routes into their wrappings; tests add routes of their own.
pub(super) fn assemble(state: RestState, open: Vec<Route>, guarded: Vec<Route>) -> Router {
    let add = |router: Router<RestState>, (path, methods): Route| router.route(path, methods);
    let guarded = guarded.into_iter().fold(Router::new(), add);
    let guarded = guarded.route_layer(from_fn_with_state(state.clone(), authenticate));
    open.into_iter()
        .fold(guarded, add)
        .fallback(|| async { Problem::not_found() })
        .layer(from_fn_with_state(state.clone(), furnish))
        .with_state(state)
}
