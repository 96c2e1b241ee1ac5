//! Bodies: bounded, JSON, and nothing else.

use axum::body::Body;
use bytes::Bytes;
use cratekube_common::intake::{Field, Notes, Object, parse_json};
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use super::problem::{Kind, Problem};

/// Reads the fields of a document. Every mistake is told at once, unknown fields among them.
///
/// # Errors
/// 422 with the place of each mistake.
pub(super) fn fields<T>(document: &Value, read: impl FnOnce(&mut Object<'_>) -> Option<T>) -> Result<T, Problem> {
    let notes = Notes::default();
    let mut found = None;
    if let Some(mut object) = Field::root(document, &notes).object_or_empty() {
        found = read(&mut object);
        object.finish();
    }
    let faults = notes.into_faults();
    found.filter(|_| faults.is_acceptable()).ok_or_else(|| Problem::validation(faults.errors))
}

/// Reads a body that must be there, at most `limit` bytes of it.
///
/// # Errors
/// 415, 413 or 400.
pub(super) async fn json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Value, Problem> {
    let bytes = bytes(headers, body, limit).await?;
    check_type(headers)?;
    parse(&bytes)
}

/// Reads a body that need not be there.
///
/// # Errors
/// As [`json`].
pub(super) async fn optional_json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Option<Value>, Problem> {
    let bytes = bytes(headers, body, limit).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    check_type(headers)?;
    parse(&bytes).map(Some)
}

/// Whether a body says that it is YAML.
pub(super) fn is_yaml(headers: &HeaderMap) -> bool {
    const YAML: [&str; 3] = ["application/yaml", "application/x-yaml", "text/yaml"];
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim();
    YAML.iter().any(|yaml| kind.eq_ignore_ascii_case(yaml))
}

/// Reads a body that is text, of a type that the caller knows.
///
/// # Errors
/// 415, 413 or 400.
pub(super) async fn text(headers: &HeaderMap, body: Body, limit: usize) -> Result<String, Problem> {
    let bytes = bytes(headers, body, limit).await?;
    check_encoding(headers)?;
    let text = String::from_utf8(bytes.to_vec());
    text.map_err(|_| Problem::new(Kind::InvalidRequest, "the body is not text in UTF-8"))
}

async fn bytes(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(Kind::BodyTooLarge, format!("the body may have {limit} bytes"));
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit as u64) {
        return Err(too_large());
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(_) => Err(Problem::new(Kind::InvalidRequest, "the body ended before it was complete")),
    }
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Problem::new(Kind::MediaType, "a compressed body is not read; send it as it is"));
    }
    Ok(())
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    check_encoding(headers)?;
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (kind, parameters) = given.split_once(';').unwrap_or((given, ""));
    let charset = parameters.trim().to_ascii_lowercase();
    let utf8 = charset.is_empty() || charset == "charset=utf-8" || charset == "charset=\"utf-8\"";
    if kind.trim().eq_ignore_ascii_case("application/json") && utf8 {
        return Ok(());
    }
    Err(Problem::new(Kind::MediaType, "the body must be application/json in UTF-8"))
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    parse_json(bytes).map_err(|error| {
        let text = error.to_string();
        let detail = super::visible::visible(&text.chars().take(300).collect::<String>()).into_owned();
        Problem::new(Kind::InvalidJson, detail)
    })
}
