//! A YAML emitter that leaves nothing to the reader's guess.
//!
//! RKE reads `cluster.yml` with a YAML 1.1 parser, for which `NO` is false, `0755` is 493 and `1:30`
//! is 90. So every string is double-quoted, and inside the quotes everything but printable ASCII is
//! escaped: YAML forbids some characters that JSON allows (DEL, C1 controls), and takes others
//! (U+0085, U+2028, U+2029) for line breaks. Keys are plain when they cannot be anything but a name.
//!
//! Not here: comments, anchors, tags, flow style; nothing that is rendered needs them.

use std::fmt::Write as _;

use serde_json::Value;

/// Emits a document in block style; keys are in the order of the map, which is alphabetical.
#[must_use]
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    node(&mut out, value, 0);
    out
}

/// Emits a value on lines of its own, indented by `depth` levels.
fn node(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (i, (name, value)) in map.iter().enumerate() {
                if i > 0 || !out.ends_with("- ") {
                    indent(out, depth);
                }
                key(out, name);
                out.push(':');
                child(out, value, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 || !out.ends_with("- ") {
                    indent(out, depth);
                }
                out.push_str("- ");
                node(out, item, depth + 1);
            }
        }
        scalar => {
            leaf(out, scalar);
            out.push('\n');
        }
    }
}

/// Emits what follows `key:`.
fn child(out: &mut String, value: &Value, depth: usize) {
    let block = value.as_object().is_some_and(|m| !m.is_empty()) || value.as_array().is_some_and(|a| !a.is_empty());
    out.push(if block { '\n' } else { ' ' });
    node(out, value, depth + 1);
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn leaf(out: &mut String, value: &Value) {
    match value {
        Value::String(text) => quoted(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        // null, true, false and numbers are the same in JSON and YAML.
        other => out.push_str(&other.to_string()),
    }
}

fn key(out: &mut String, name: &str) {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let plain = first && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain && !is_word_of_yaml(name) { out.push_str(name) } else { quoted(out, name) }
}

/// The words that YAML 1.1 reads as a boolean or as nothing.
fn is_word_of_yaml(name: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "true", "false", "on", "off", "null"];
    WORDS.iter().any(|word| name.eq_ignore_ascii_case(word))
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            ' '..='~' => write!(out, "{c}"),
            c if u32::from(c) <= 0xffff => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "\\U{:08x}", u32::from(c)),
        };
    }
    out.push('"');
}
