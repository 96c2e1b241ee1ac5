//! The body that a managed resource is sent as: JSON with the manifest as text, or the YAML itself.

use axum::body::Body;
use cratekube_common::domain::cluster::manifest::{self, MAX_MANIFEST, Scope};
use cratekube_common::domain::cluster::masking::sent_back;
use cratekube_common::domain::cluster::resource::{ObjectRef, ResourceMode};
use cratekube_common::domain::secret::Secret;
use cratekube_common::intake::{Field, Notes};
use http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::body;
use crate::rest::problem::{Kind, Problem};
use crate::rest::query::Params;

/// A managed resource.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::rest) struct NewResource {
    /// `upsert` (objects that leave the manifest stay; when absent) or `sync` (they are removed, and all of
    /// them with the resource).
    #[schema(example = "sync")]
    mode: Option<String>,
    /// Kubernetes YAML, of one document or more; at most 256 KiB and 500 objects.
    #[schema(write_only)]
    manifest: String,
}

/// What was sent, checked.
pub(super) struct Sent {
    pub(super) mode: ResourceMode,
    pub(super) manifest: Secret,
    pub(super) objects: Vec<ObjectRef>,
}

/// Reads and checks a body: every fault at once.
///
/// # Errors
/// 400, 413, 415 or 422.
pub(super) async fn read(parts: &Parts, body: Body, scope: &Scope, limit: usize) -> Result<Sent, Problem> {
    let params = Params::read(&parts.uri, &["mode"])?;
    let in_query = params.parse::<ResourceMode>("mode")?;
    let yaml = body::is_yaml(&parts.headers);
    let read = if yaml {
        body::text(&parts.headers, body, limit).await.map(|text| (in_query, text, ""))
    } else {
        let document = body::json(&parts.headers, body, limit).await;
        document.and_then(|document| shell(&document, in_query)).map(|(mode, text)| (mode, text, "/manifest"))
    };
    let (mode, text, pointer) = read.map_err(too_large)?;
    let notes = Notes::default();
    let objects = manifest::read(&text, scope, pointer, &notes);
    let values: Vec<Value> = objects.iter().map(|object| object.value.clone()).collect();
    if sent_back(&values) {
        notes.error(pointer, "masked-value: has a Secret with a masked value, as it was shown: write the value itself");
    }
    let faults = notes.into_faults();
    if !faults.is_acceptable() {
        return Err(Problem::validation(faults.errors));
    }
    let objects = objects.into_iter().map(|object| object.object).collect();
    Ok(Sent { mode: mode.unwrap_or(ResourceMode::Upsert), manifest: Secret::new(text), objects })
}

fn shell(document: &Value, in_query: Option<ResourceMode>) -> Result<(Option<ResourceMode>, String), Problem> {
    let notes = Notes::default();
    let made = Field::root(document, &notes).object().and_then(|mut object| {
        let field = object.field("mode");
        let mode = if field.is_present() { field.parse() } else { in_query };
        if field.is_present() && in_query.is_some() {
            field.error("is given in the query too; give it once");
        }
        let manifest = object.field("manifest").required().string().map(ToOwned::to_owned);
        object.finish();
        manifest.map(|manifest| (mode, manifest))
    });
    let faults = notes.into_faults();
    made.filter(|_| faults.is_acceptable()).ok_or_else(|| Problem::validation(faults.errors))
}

/// A manifest that is far too large is not read at all; the rule is named all the same.
fn too_large(problem: Problem) -> Problem {
    if problem.kind() != Kind::BodyTooLarge {
        return problem;
    }
    Problem::new(Kind::BodyTooLarge, format!("manifest-size: a manifest may have {MAX_MANIFEST} bytes"))
}
