//! Plain (unquoted) words of YAML: text, truths, numbers, nothing, or a word that parsers read in
//! different ways.

use serde_json::{Number, Value};

/// What YAML 1.1, which Kubernetes' own tools read, takes for a truth and YAML 1.2 for text.
const OLD_TRUTHS: &[&str] = &["y", "yes", "n", "no", "on", "off"];

/// Reads a plain word.
///
/// # Errors
/// A sentence that says which two readings there are and how to write either.
pub(super) fn plain(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        _ => {}
    }
    if OLD_TRUTHS.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Err(format!("`{text}` is text to some and true or false to others: write \"{text}\", true or false"));
    }
    match number(text) {
        Shape::Text => Ok(Value::String(text.to_owned())),
        Shape::Number(number) => Ok(Value::Number(number)),
        Shape::Ambiguous(why) => Err(why),
    }
}

enum Shape {
    Text,
    Number(Number),
    Ambiguous(String),
}

fn number(text: &str) -> Shape {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = digits.bytes().next().unwrap_or_default();
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&digits);
    if special {
        return Shape::Ambiguous("is a number that JSON, which Kubernetes stores, does not have".into());
    }
    if !first.is_ascii_digit() && first != b'.' {
        return Shape::Text;
    }
    let based = digits.len() > 2 && digits.starts_with('0') && b"xXoObB".contains(&digits.as_bytes()[1]);
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    let underscored = digits.contains('_') && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_' || b == b'.');
    if based && digits[2..].bytes().all(|b| b.is_ascii_hexdigit() || b == b'_') || octal || underscored {
        return Shape::Ambiguous(octal_or_so(text, digits, octal));
    }
    if let Ok(whole) = digits.parse::<u64>() {
        return whole_number(text, whole);
    }
    let fraction = digits.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    match text.parse::<f64>() {
        Ok(value) if fraction => Number::from_f64(value).map_or_else(
            || Shape::Ambiguous("is a number too large to be stored: write it in quotes".into()),
            Shape::Number,
        ),
        _ => Shape::Text,
    }
}

fn octal_or_so(text: &str, digits: &str, octal: bool) -> String {
    let decimal = octal.then(|| u64::from_str_radix(digits, 8).ok()).flatten();
    match decimal {
        Some(decimal) => format!(
            "`{text}` is octal to some and decimal to others: write {decimal}, which it is in octal, or \"{text}\" for text"
        ),
        None => format!("`{text}` is a number to some and text to others: write it in decimal, or in quotes for text"),
    }
}

fn whole_number(text: &str, whole: u64) -> Shape {
    if !text.starts_with('-') {
        return Shape::Number(whole.into());
    }
    match text.parse::<i64>() {
        Ok(number) => Shape::Number(number.into()),
        Err(_) => Shape::Ambiguous("is a number too small to be stored: write it in quotes".into()),
    }
}
