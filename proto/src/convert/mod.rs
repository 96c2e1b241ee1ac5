//! Conversions between wire and domain. What comes in is checked; what goes out cannot fail.

pub mod agent;
mod assignment;
pub mod inventory;
pub mod query;
mod report;

use std::str::FromStr;

use cratekube_common::domain::time::Timestamp;
use serde_json::Value;

/// A message that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {fault}")]
pub struct Malformed {
    /// The offending field.
    pub field: &'static str,
    /// What is wrong with it.
    pub fault: String,
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        crate::status::Refusal::Malformed.status(malformed.to_string())
    }
}

/// Reads a field that is text on the wire: an identifier, a name, an enum.
///
/// # Errors
/// [`Malformed`] with the parser's own words.
pub fn parse<T: FromStr<Err: std::fmt::Display>>(field: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|fault: T::Err| Malformed { field, fault: fault.to_string() })
}

/// Reads a field that must be there.
///
/// # Errors
/// [`Malformed`] when it is not.
pub fn present<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or_else(|| Malformed { field, fault: "is missing".into() })
}

/// A document as text; empty for null.
fn document(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

/// Reads a document; null where there is none.
fn read_document(field: &'static str, text: &str) -> Result<Value, Malformed> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| Malformed { field, fault: format!("is not JSON: {error}") })
}

/// Bounds text that is only shown to people.
fn bounded(field: &'static str, text: String) -> Result<String, Malformed> {
    const LONGEST: usize = 64 * 1024;
    if text.len() > LONGEST {
        return Err(Malformed { field, fault: format!("is longer than {LONGEST} bytes") });
    }
    Ok(text)
}

/// Reads a lower-case SHA-256.
fn sha256(field: &'static str, text: String) -> Result<String, Malformed> {
    let ok = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if ok { Ok(text) } else { Err(Malformed { field, fault: "is not a SHA-256 in lower-case hex".into() }) }
}

/// Reads a time.
#[must_use]
pub fn time(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}
