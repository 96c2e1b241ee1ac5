//! `GET /v1/operations/{id}/residue`: what a removal left behind, signed.

use axum::Json;
use axum::extract::{OriginalUri, Path, State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::visible_operation;
use crate::rest::caller::Caller;
use crate::rest::problem::Problem;
use crate::rest::query::Params;
use crate::rest::state::RestState;
use crate::rest::views::shown_document;

/// `typ` of the signature: never that of a token.
const KIND: &str = "cratekube-residue+jws";

/// What a removal left behind, with the controller's signature.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct Residue {
    /// The report: `verdict` is `clean`, `unverified` or `residue`, and `because` lists every reason why it is not
    /// `clean`; `steps` say what came of each; `cloud` has a tally and every object that was found, with its
    /// `fate` (`deleted`, `already_gone`, `kept`, `left`), why, and what it costs in a month in cents of a US
    /// dollar; `hosts` what became of each; `tombstone` what is kept of the cluster's state; `abandoned` who
    /// ended it, when and why.
    #[schema(value_type = Object)]
    report: Value,
    /// The same as a compact JWS (RFC 7515): EdDSA by the key that `kid` names, over the report as JSON without
    /// blanks and with the members of each object in the order of their names. The public keys are at
    /// `/v1/admin/signing-keys`.
    jws: String,
}

/// What a removal left behind. Also while it goes on: then it says so, and is `unverified`. It is signed anew each
/// time it is read, by the key that signs then.
#[utoipa::path(get, path = "/v1/operations/{id}/residue", tag = "operations",
    params(("id" = String, Path, description = "The removal")),
    responses((status = 200, description = "The report", body = Residue)))]
pub(in crate::rest) async fn residue(
    State(state): State<RestState>,
    caller: Caller,
    Path(id): Path<String>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Residue>, Problem> {
    Params::read(&uri, &[])?;
    let operation = visible_operation(&state, &caller, &id).await?;
    let report = state.service.residue(&operation).await?;
    let report = serde_json::to_value(report).map_err(|error| unwritable(&error))?;
    // As it is shown it is signed: agents' words are harmless to look at in both.
    let report = shown_document(report);
    let jws = state.tokens.sign(KIND, &report).map_err(|error| unwritable(&error))?;
    Ok(Json(Residue { report, jws }))
}

fn unwritable(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a residue report cannot be made");
    Problem::internal()
}

#[cfg(test)]
mod tests {
    use cratekube_common::domain::run::{RunOutcome, RunReport};
    use http::Method;
    use serde_json::{Value, json};

    use crate::rest::testing::World;

    const WEB: &str = "/v1/environments/prod/clusters/web";

    fn look(fate: &str) -> Value {
        let left = fate == "left";
        json!({"verdict": if left { "left" } else { "clean" }, "dry_run": false, "policy": "retain",
            "region": "eu-central-1", "at": "2026-11-25T12:00:00Z", "prices": "list",
            "tally": {"found": 1, "deleted": u8::from(!left), "already_gone": 0, "would_go": 0, "left": u8::from(left),
                "kept": 0, "monthly_cents_freed": 0, "monthly_cents_left": 80, "monthly_cents_kept": 0},
            "entries": [{"kind": "volume", "id": "vol-1", "region": "eu-central-1", "fate": fate,
                "why": "it is in use", "monthly_cents": 80}]})
    }

    /// Takes the whole chain of a removal; answers its report.
    async fn removed(world: &World, confirm: Value) -> Value {
        let built = world.ready("web").await;
        let asked = world.ask(Method::DELETE, &format!("{WEB}?reason=x&hosts_terminated=true")).send().await.json();
        let id = asked["operation"]["id"].as_str().unwrap().to_owned();
        for _ in 0..8 {
            let work = world.house.lease_one(built.bastion).await;
            world.house.start(built.bastion, &work).await;
            let findings = match work.kind.as_str() {
                "sweep" => look("deleted"),
                "confirm" => confirm.clone(),
                _ => json!({"state": "done"}),
            };
            let report = world.house.report(&work, RunOutcome::Succeeded);
            let report = if work.kind.is_rke() { report } else { RunReport { generation: None, rke: None, ..report } };
            world.house.settle(built.bastion, RunReport { findings: Some(findings), ..report }).await;
        }
        assert_eq!(world.get(WEB).await.json()["phase"], "removed");
        world.get(&format!("/v1/operations/{id}/residue")).await.json()
    }

    #[tokio::test]
    async fn a_removal_whose_steps_found_nothing_is_clean_and_its_signature_holds_what_is_shown() {
        let world = World::new().await;
        let residue = removed(&world, look("already_gone")).await;
        let report = &residue["report"];
        assert_eq!((&report["verdict"], &report["because"]), (&json!("clean"), &json!([])), "{report}");
        assert_eq!(report["cloud"]["objects"][0]["fate"], "deleted", "what was done to it counts");
        let jws = residue["jws"].as_str().unwrap();
        let payload = data_encoding::BASE64URL_NOPAD.decode(jws.split('.').nth(1).unwrap().as_bytes()).unwrap();
        assert_eq!(String::from_utf8(payload).unwrap(), report.to_string());
        assert!(world.tokens.verify(jws).is_err(), "a report is no token");
    }

    #[tokio::test]
    async fn what_shows_up_again_is_residue_and_what_was_not_looked_at_is_never_clean() {
        let report = removed(&World::new().await, look("left")).await["report"].clone();
        assert_eq!(report["verdict"], "residue");
        assert_eq!(report["because"], json!(["volume vol-1 in the cloud: it is in use"]));
        let report =
            removed(&World::new().await, json!({"state": "unverified", "why": "no keys"})).await["report"].clone();
        assert_eq!(report["verdict"], "unverified");
        assert_eq!(report["because"], json!(["The step confirm could not be done: no keys"]));
        let world = World::new().await;
        let id = world.create("web").await;
        assert_eq!(world.get(&format!("/v1/operations/{id}/residue")).await.problem(), "not-allowed-now");
    }
}
