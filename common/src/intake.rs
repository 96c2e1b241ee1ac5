//! Reading untrusted structured input so that *every* fault is reported at once.
//!
//! serde stops at the first mistake; a person who sends a cluster description or writes a
//! configuration file wants all of them. A [`Field`] walks a JSON value, remembers the JSON pointer
//! (RFC 6901) of where it is, and collects [`Fault`]s in a shared list instead of returning early.
//! Unknown keys are faults. [`parse_json`] refuses duplicate keys, which serde_json would let win.
//!
//! Not here: what a particular document means. That is in `domain::cluster` and in the config
//! sections of controller and agent.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};
use serde_json::{Map, Number, Value};

/// One mistake in a document: where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, DeserializeDerive)]
pub struct Fault {
    /// JSON pointer (RFC 6901) of the offending value; empty for the whole document.
    pub pointer: String,
    /// What is wrong and how to mend it, in one sentence.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "{}", self.detail)
        } else {
            write!(f, "{}: {}", self.pointer, self.detail)
        }
    }
}

/// What was found while reading: errors refuse the document, warnings travel with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Mistakes that refuse the document.
    pub errors: Vec<Fault>,
    /// Choices that are allowed but likely to be regretted.
    pub warnings: Vec<Fault>,
}

impl Faults {
    /// True when nothing refuses the document.
    #[must_use]
    pub fn is_acceptable(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Where a reader notes faults; shared by all fields of one document.
#[derive(Debug, Default)]
pub struct Notes(RefCell<Faults>);

impl Notes {
    /// Notes a mistake.
    pub fn error(&self, pointer: &str, detail: impl Into<String>) {
        self.0.borrow_mut().errors.push(Fault { pointer: pointer.into(), detail: detail.into() });
    }

    /// Notes a regrettable choice.
    pub fn warn(&self, pointer: &str, detail: impl Into<String>) {
        self.0.borrow_mut().warnings.push(Fault { pointer: pointer.into(), detail: detail.into() });
    }

    /// Everything noted, in the order found.
    #[must_use]
    pub fn into_faults(self) -> Faults {
        self.0.into_inner()
    }
}

/// A place in the document: its pointer and, when it is there, its value.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    pointer: String,
    value: Option<&'a Value>,
    notes: &'a Notes,
}

impl<'a> Field<'a> {
    /// The whole document.
    #[must_use]
    pub fn root(value: &'a Value, notes: &'a Notes) -> Self {
        Self { pointer: String::new(), value: Some(value), notes }
    }

    /// The JSON pointer of this place.
    #[must_use]
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// True when the document has a value here that is not `null`.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.value.is_some_and(|v| !v.is_null())
    }

    /// Notes a mistake at this place.
    pub fn error(&self, detail: impl Into<String>) {
        self.notes.error(&self.pointer, detail);
    }

    /// Notes a regrettable choice at this place.
    pub fn warn(&self, detail: impl Into<String>) {
        self.notes.warn(&self.pointer, detail);
    }

    /// Notes a mistake when nothing is here; otherwise passes the field on.
    #[must_use]
    pub fn required(self) -> Self {
        if !self.is_present() {
            self.error("is required");
        }
        self
    }

    fn typed<T>(&self, expected: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value.filter(|v| !v.is_null())?;
        let read = read(value);
        if read.is_none() {
            self.error(format!("must be {expected}, found {}", kind(value)));
        }
        read
    }

    /// The string here; `None` when absent or of another type (which is noted).
    #[must_use]
    pub fn string(&self) -> Option<&'a str> {
        self.typed("a string", Value::as_str)
    }

    /// The boolean here.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        self.typed("true or false", Value::as_bool)
    }

    /// The whole number here, within `range`.
    #[must_use]
    pub fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let n = self.typed("a whole number", Value::as_u64)?;
        if range.contains(&n) {
            return Some(n);
        }
        self.error(format!("must be between {} and {}, found {n}", range.start(), range.end()));
        None
    }

    /// The string here, parsed; a parse error is noted in its own words.
    #[must_use]
    pub fn parse<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.check(self.string()?.parse())
    }

    /// The string here, without a fault when it is of another type.
    #[must_use]
    pub fn as_text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    /// Passes on what was made of this place, or notes in its own words why not.
    pub fn check<T>(&self, made: Result<T, impl fmt::Display>) -> Option<T> {
        made.map_err(|fault| self.error(fault.to_string())).ok()
    }

    /// The elements of the array here, each as a field of its own. An element that is null is a mistake: it
    /// stands for nothing, and would be left out unnoticed.
    #[must_use]
    pub fn items(&self) -> Option<Vec<Field<'a>>> {
        let items = self.typed("an array", Value::as_array)?;
        let place =
            |(i, value)| Field { pointer: format!("{}/{i}", self.pointer), value: Some(value), notes: self.notes };
        Some(items.iter().enumerate().map(place).inspect(Self::not_null).collect())
    }

    /// The entries of the object here, for maps with free keys.
    #[must_use]
    pub fn entries(&self) -> Option<Vec<(&'a str, Field<'a>)>> {
        let map = self.typed("an object", Value::as_object)?;
        Some(map.iter().map(|(key, value)| (key.as_str(), self.place(key, Some(value)))).collect())
    }

    /// Notes a mistake when null is here.
    pub fn not_null(&self) {
        if self.value.is_some_and(Value::is_null) {
            self.error("must not be null");
        }
    }

    /// The object here, with a fixed set of keys; call [`Object::finish`] to note unknown ones.
    #[must_use]
    pub fn object(&self) -> Option<Object<'a>> {
        let map = self.typed("an object", Value::as_object)?;
        Some(Object { at: self.clone(), map, known: BTreeSet::new(), refused: BTreeSet::new() })
    }

    /// The object here, or one without keys when nothing is here, so that its required keys are asked
    /// for by name.
    #[must_use]
    pub fn object_or_empty(&self) -> Option<Object<'a>> {
        static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
        if self.is_present() {
            return self.object();
        }
        Some(Object { at: self.clone(), map: &EMPTY, known: BTreeSet::new(), refused: BTreeSet::new() })
    }

    fn place(&self, key: &str, value: Option<&'a Value>) -> Field<'a> {
        let escaped = key.replace('~', "~0").replace('/', "~1");
        Field { pointer: format!("{}/{escaped}", self.pointer), value, notes: self.notes }
    }
}

/// An object whose keys are known in advance.
#[derive(Debug)]
pub struct Object<'a> {
    at: Field<'a>,
    map: &'a Map<String, Value>,
    known: BTreeSet<&'static str>,
    refused: BTreeSet<&'static str>,
}

impl<'a> Object<'a> {
    /// The place of the object itself, for faults that concern several of its keys.
    #[must_use]
    pub fn at(&self) -> &Field<'a> {
        &self.at
    }

    /// The field under `key`, present or not.
    pub fn field(&mut self, key: &'static str) -> Field<'a> {
        self.known.insert(key);
        self.at.place(key, self.map.get(key))
    }

    /// Notes a mistake when `key` is here: one that is known and not allowed.
    pub fn refuse(&mut self, key: &'static str, why: &str) {
        self.refused.insert(key);
        if let Some(value) = self.map.get(key) {
            self.at.place(key, Some(value)).error(why);
        }
    }

    /// Notes every key that was never asked for.
    pub fn finish(self) {
        let known = self.known.iter().copied().collect::<Vec<_>>().join(", ");
        let strange = |key: &&String| !self.known.contains(key.as_str()) && !self.refused.contains(key.as_str());
        for key in self.map.keys().filter(strange) {
            let detail = format!("is not known here; known are: {known}");
            self.at.place(key, None).error(detail);
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Parses JSON, refusing duplicate keys; depth is bounded by serde_json (128).
///
/// # Errors
/// The parser's own words, with line and column.
pub fn parse_json(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let Strict(value) = Strict::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let Strict(value) = access.next_value()?;
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {key:?}")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_fault_is_noted_with_its_pointer() {
        let value = json!({"a": 1, "list": [{"x/y": true}, null], "stray": null});
        let notes = Notes::default();
        let mut root = Field::root(&value, &notes).object().unwrap();
        assert_eq!(root.field("a").string(), None);
        assert_eq!(root.field("missing").required().string(), None);
        for item in root.field("list").items().unwrap() {
            let Some(mut item) = item.object() else { continue };
            assert_eq!(item.field("x/y").integer(1..=5), None);
            item.finish();
        }
        root.finish();
        let pointers: Vec<_> = notes.into_faults().errors.into_iter().map(|f| f.pointer).collect();
        assert_eq!(pointers, ["/a", "/missing", "/list/1", "/list/0/x~1y", "/stray"]);
    }

    #[test]
    fn duplicate_keys_depth_and_huge_numbers_are_refused() {
        assert!(parse_json(br#"{"a":1,"a":2}"#).unwrap_err().to_string().contains("duplicate key"));
        assert!(parse_json(b"1e400").is_err());
        assert!(parse_json("[".repeat(10_000).as_bytes()).is_err());
        assert!(parse_json(b"{} {}").is_err());
        assert_eq!(parse_json(br#"{"a":[1,-2,0.5,"x",null,true]}"#).unwrap()["a"][1], -2);
    }
}
