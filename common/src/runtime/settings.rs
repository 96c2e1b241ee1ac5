//! Settings: one TOML file plus environment, read so that every mistake is reported at once.
//!
//! `CRATEKUBE_REST__LISTEN=…` overrides `listen` in section `[rest]`: the prefix, then the path with
//! `__` between its parts, in upper case. Values of the environment are read as TOML where that
//! parses (numbers, booleans, arrays) and as text otherwise. What a section means is in the config
//! modules of controller and agent, which read the merged document with [`crate::intake`].

use std::path::Path;

use serde_json::{Map, Value};

use super::fault;

/// Prefix of environment variables.
pub const ENV_PREFIX: &str = "CRATEKUBE_";

/// Why settings could not be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path} is not valid TOML: {message}")]
    Parse {
        /// The file.
        path: String,
        /// Where and why.
        message: String,
    },
    /// The file is TOML, but its content is not usable.
    #[error("the configuration has {} mistake(s):\n{}", .0.len(), list(.0))]
    Mistakes(Vec<crate::intake::Fault>),
}

fn list(faults: &[crate::intake::Fault]) -> String {
    faults.iter().map(|fault| format!("  - {fault}")).collect::<Vec<_>>().join("\n")
}

/// Reads the file (when given) and lays the environment over it.
///
/// # Errors
/// When the file cannot be read or is not TOML.
pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Value, SettingsError> {
    let mut document = match file {
        Some(path) => read_file(path)?,
        None => Value::Object(Map::new()),
    };
    overlay(&mut document, env);
    Ok(document)
}

fn read_file(path: &Path) -> Result<Value, SettingsError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: shown.clone(), source })?;
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| SettingsError::Parse { path: shown, message: e.to_string() })?;
    Ok(to_json(toml::Value::Table(table)))
}

fn overlay(document: &mut Value, env: impl Iterator<Item = (String, String)>) {
    let mut overrides: Vec<_> =
        env.filter(|(key, _)| key.starts_with(ENV_PREFIX) && !fault::is_variable(key)).collect();
    overrides.sort();
    for (key, text) in overrides {
        let path = key[ENV_PREFIX.len()..].to_ascii_lowercase();
        let mut place = &mut *document;
        for part in path.split("__") {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            place = &mut place[part];
        }
        *place = value_of(&text);
    }
}

fn value_of(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("v"));
    parsed.map_or_else(|| Value::String(text.to_owned()), to_json)
}

fn to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(n) => n.into(),
        toml::Value::Float(n) => n.into(),
        toml::Value::Boolean(b) => Value::Bool(b),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(items) => items.into_iter().map(to_json).collect(),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(k, v)| (k, to_json(v))).collect()),
    }
}

/// Parses a duration written as `30s`, `5m`, `24h`, `7d` or `250ms`.
///
/// # Errors
/// A sentence that shows the form.
pub fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let form = || format!("{text:?} is not a duration: write `250ms`, `30s`, `5m`, `24h` or `7d`");
    let number: u64 = number.parse().map_err(|_| form())?;
    let ms_each = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(form()),
    };
    number.checked_mul(ms_each).map(std::time::Duration::from_millis).ok_or_else(form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn the_environment_overrides_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[rest]\nlisten = \"127.0.0.1:1\"\nnames = [\"a\"]\n").unwrap();
        let env = [("CRATEKUBE_REST__LISTEN", "[::1]:2"), ("CRATEKUBE_AGENT__SLOTS", "4"), ("OTHER", "x")];
        let env = env.map(|(k, v)| (k.to_owned(), v.to_owned()));
        let merged = load(Some(&file), env.into_iter()).unwrap();
        assert_eq!(merged, json!({"rest": {"listen": "[::1]:2", "names": ["a"]}, "agent": {"slots": 4}}));
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "5", "m", "1w", "-1s", "99999999999999999999s", "1.5h"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
