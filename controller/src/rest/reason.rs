//! The reason that a sharp action needs: removal, forced unlocking, forgetting an agent, revocation.
//!
//! One that is missing or says nothing refuses the request; one that was given goes into the audit
//! entry of the action. Three ways to use it, each after the caller was authorized: [`said`] where the
//! reason is all that is sent, in the body or as `?reason=`; [`if_said`] where it may be left out; [`read`]
//! where the body has other fields too.

use axum::extract::Request;
use cratekube_common::intake::{Fault, Field, Notes, Object};
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::body;
use super::problem::Problem;
use super::query::{Params, invalid};
use super::state::RestState;

/// Longest reason: a sentence or two.
const MAX_REASON: usize = 1_000;
/// What is said when there is none.
const MISSING: &str = "is required: say why, in a sentence; it is kept in the audit log";

/// Why something is done that cannot be undone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reason {
    /// A sentence or two; kept in the audit log.
    #[schema(min_length = 1, max_length = 1000)]
    reason: String,
}

/// The reason in a body that has other fields too. A fault is noted at its place.
pub(super) fn read(object: &mut Object<'_>) -> Option<String> {
    let field = object.field("reason");
    if !field.is_present() {
        field.error(MISSING);
        return None;
    }
    field.check(check(field.string()?))
}

/// The reason of a request that says nothing else: `?reason=`, or a body with that one field.
///
/// # Errors
/// 422 with the pointer `/reason` when there is none or it is not one; 400 for a bad parameter.
pub(super) async fn said(state: &RestState, request: Request) -> Result<(String, HeaderMap), Problem> {
    let (params, document, headers) = parts(state, request).await?;
    Ok((required(&params, document.as_ref())?, headers))
}

/// The same, of an action that needs none.
///
/// # Errors
/// As [`said`], for one that was given.
pub(super) async fn if_said(state: &RestState, request: Request) -> Result<Option<String>, Problem> {
    let (params, document, _) = parts(state, request).await?;
    let says_something = |document: &Value| document.as_object().is_none_or(|fields| !fields.is_empty());
    let given = params.text("reason").is_some() || document.as_ref().is_some_and(says_something);
    given.then(|| required(&params, document.as_ref())).transpose()
}

async fn parts(state: &RestState, request: Request) -> Result<(Params, Option<Value>, HeaderMap), Problem> {
    let params = Params::read(request.uri(), &["reason"])?;
    let (parts, sent) = request.into_parts();
    let document = body::optional_json(&parts.headers, sent, state.limits.body_bytes).await?;
    Ok((params, document, parts.headers))
}

/// The reason of a request that may say more, in the query or in the body: from either of them, once. A
/// fault of the body is noted at its place; that there is none at all is for [`missing`] to say.
///
/// # Errors
/// 400 when the one in the query is none.
pub(super) fn among(params: &Params, body: Option<&mut Object<'_>>) -> Result<Option<String>, Problem> {
    let in_query = params.text("reason").map(check).transpose().map_err(|fault| invalid("reason", fault))?;
    Ok(match (in_query, body) {
        (Some(reason), body) => {
            // A body that says nothing beside the query is no mistake; a second reason is.
            let field = body.map(|body| body.field("reason"));
            if let Some(field) = field.filter(Field::is_present) {
                field.error("is given in the query too; give it once");
            }
            Some(reason)
        }
        (None, Some(body)) => read(body),
        (None, None) => None,
    })
}

/// What is said of a request without a reason.
pub(super) fn missing() -> Fault {
    Fault { pointer: "/reason".into(), detail: MISSING.into() }
}

fn required(params: &Params, document: Option<&Value>) -> Result<String, Problem> {
    let notes = Notes::default();
    let mut body = document.and_then(|document| Field::root(document, &notes).object_or_empty());
    let reason = among(params, body.as_mut())?;
    body.into_iter().for_each(Object::finish);
    let mut faults = notes.into_faults();
    if reason.is_none() && faults.is_acceptable() {
        faults.errors.push(missing());
    }
    reason.filter(|_| faults.is_acceptable()).ok_or_else(|| Problem::validation(faults.errors))
}

fn check(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err(MISSING.to_owned());
    }
    if text.chars().count() > MAX_REASON || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(format!("may have {MAX_REASON} characters and no control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(query: &str, body: Option<&Value>) -> Result<String, Vec<String>> {
        let params = Params::read(&format!("/x{query}").parse().unwrap(), &["reason"]).unwrap();
        required(&params, body).map_err(|problem| {
            let document = problem.document("/x", "r");
            let place = |m: &Value| m["pointer"].as_str().or(m["parameter"].as_str()).unwrap().to_owned();
            document["errors"].as_array().unwrap().iter().map(place).collect()
        })
    }

    #[test]
    fn hostile_row_28_a_reason_is_one_sentence_from_one_place() {
        assert_eq!(ask("?reason=moved+away", None), Ok("moved away".into()));
        assert_eq!(ask("", Some(&json!({"reason": "  moved\naway "}))), Ok("moved\naway".into()));
        assert_eq!(ask("?reason=a", Some(&json!({}))), Ok("a".into()));
    }

    #[test]
    fn hostile_row_28_no_reason_and_what_is_no_reason_are_refused_with_their_place() {
        let long = "x".repeat(MAX_REASON + 1);
        for (query, body, places) in [
            ("", None, ["/reason"]),
            ("", Some(json!({})), ["/reason"]),
            ("", Some(json!({"reason": null})), ["/reason"]),
            ("", Some(json!({"reason": " \n "})), ["/reason"]),
            ("", Some(json!({"reason": 1})), ["/reason"]),
            ("", Some(json!({"reason": long})), ["/reason"]),
            ("", Some(json!({"reason": "\u{1b}[31m"})), ["/reason"]),
            ("", Some(json!({"reason": "a", "force": true})), ["/force"]),
            ("", Some(json!("because")), [""]),
            ("?reason=+", None, ["reason"]),
            ("?reason=%1b", None, ["reason"]),
            ("?reason=+", Some(json!({})), ["reason"]),
            ("", Some(json!(null)), ["/reason"]),
            ("?reason=a", Some(json!({"reason": "b"})), ["/reason"]),
        ] {
            let said = ask(query, body.as_ref());
            assert_eq!(said, Err(places.map(str::to_owned).to_vec()), "{query} {body:?}");
        }
    }
}
