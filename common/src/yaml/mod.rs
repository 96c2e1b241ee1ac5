//! Reading YAML of unknown origin, one or more documents, so that what is read is what a person sees.
//!
//! YAML has ways to say one thing and mean another: anchors and aliases (which also make a small text
//! huge), merge keys, tags, repeated keys, and plain words that one parser reads as text and another
//! as a truth or a number. All of them are faults here, each with its rule and line; nothing is ever
//! guessed. The text is read once, event by event; depth and count are bounded, and memory is at most
//! a few times the text, whose size the caller bounds.
//!
//! Not here: what a document means.

mod scalar;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};

/// Deepest nesting: Kubernetes' own objects have some fifteen levels, a schema in a definition thirty.
pub const MAX_DEPTH: usize = 64;
/// Most values in all documents of one text.
pub const MAX_VALUES: usize = 50_000;
/// Most documents in one text.
pub const MAX_DOCUMENTS: usize = 1_000;
/// Faults that are listed; beyond, the text is not worth mending line by line.
const MAX_FAULTS: usize = 50;

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Line on which it begins, from 1.
    pub line: usize,
    /// What it says. Never `null`: documents without content are left out.
    pub value: Value,
}

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlFault {
    /// Line, from 1.
    pub line: usize,
    /// The rule that refuses it: a stable word.
    pub rule: &'static str,
    /// What is wrong and how to mend it. Never repeats values, which may be secret.
    pub detail: String,
}

/// Reads every document of a text.
///
/// # Errors
/// All faults at once, up to the first place where the text is no YAML any more.
pub fn read(text: &str) -> Result<Vec<Document>, Vec<YamlFault>> {
    let mut reader = Reader::default();
    let mut options = granit_parser::options! {
        emit_unresolved_aliases: true,
        disallow_directives: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => reader.take(event, span),
            Err(error) => {
                // The parser's own words name the place and the construct, not the content.
                reader.fault(error.marker().line(), "yaml-syntax", error.info());
                break;
            }
        }
        if reader.stopped {
            break;
        }
    }
    if reader.faults.is_empty() { Ok(reader.documents) } else { Err(reader.faults) }
}

/// A collection that is being read.
enum Open {
    List(Vec<Value>),
    Map { entries: Map<String, Value>, key: Option<String> },
}

#[derive(Default)]
struct Reader {
    documents: Vec<Document>,
    faults: Vec<YamlFault>,
    open: Vec<Open>,
    began: usize,
    values: usize,
    stopped: bool,
}

impl Reader {
    fn fault(&mut self, line: usize, rule: &'static str, detail: impl Into<String>) {
        self.faults.push(YamlFault { line, rule, detail: detail.into() });
        self.stopped |= self.faults.len() >= MAX_FAULTS;
    }

    fn bound(&mut self, line: usize, rule: &'static str, detail: String) {
        self.fault(line, rule, detail);
        self.stopped = true;
    }

    fn take(&mut self, event: Event<'_>, span: Span) {
        let line = span.start.line();
        match event {
            Event::DocumentStart(..) => self.began = line,
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.fault(line, "yaml-alias", "has an alias (`*name`): write out what it stands for");
                self.value(Value::Null, line);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_properties(line, anchor, tag.as_deref());
                self.scalar(&text, style, tag.is_some(), line);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_properties(line, anchor, tag.as_deref());
                self.begin(Open::List(Vec::new()), line);
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_properties(line, anchor, tag.as_deref());
                self.begin(Open::Map { entries: Map::new(), key: None }, line);
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(items)) => self.value(Value::Array(items), line),
                Some(Open::Map { entries, .. }) => self.value(Value::Object(entries), line),
                None => {}
            },
            _ => {}
        }
    }

    fn check_properties(&mut self, line: usize, anchor: usize, tag: Option<&Tag>) {
        if anchor != 0 {
            self.fault(line, "yaml-anchor", "has an anchor (`&name`): write out what is meant where it is meant");
        }
        if tag.is_some() {
            self.fault(line, "yaml-tag", "has a tag (`!name`): say a type by writing the value that way");
        }
    }

    fn begin(&mut self, collection: Open, line: usize) {
        if self.is_key() {
            self.fault(line, "yaml-key", "has a key that is a list or a mapping: keys are text");
        }
        if self.open.len() >= MAX_DEPTH {
            self.bound(line, "yaml-depth", format!("is nested deeper than {MAX_DEPTH} levels"));
        }
        self.open.push(collection);
    }

    /// True when what comes next is a key of a mapping.
    fn is_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tagged: bool, line: usize) {
        if self.is_key() {
            return self.key(text, style, line);
        }
        let value = if style == ScalarStyle::Plain && !tagged {
            scalar::plain(text).unwrap_or_else(|detail| {
                self.fault(line, "yaml-ambiguous", detail);
                Value::Null
            })
        } else {
            Value::String(text.to_owned())
        };
        self.value(value, line);
    }

    fn key(&mut self, text: &str, style: ScalarStyle, line: usize) {
        if style == ScalarStyle::Plain && text == "<<" {
            self.fault(line, "yaml-merge", "has a merge key (`<<`): write out what is merged");
        }
        let known = match self.open.last_mut() {
            Some(Open::Map { entries, key }) => {
                *key = Some(text.to_owned());
                entries.contains_key(text)
            }
            _ => false,
        };
        if known {
            let shown: String = text.chars().take(80).collect();
            self.fault(line, "yaml-duplicate-key", format!("has the key {shown:?} twice in one mapping"));
        }
    }

    /// Puts a whole value where it belongs.
    fn value(&mut self, value: Value, line: usize) {
        self.values += 1;
        if self.values > MAX_VALUES {
            return self.bound(line, "yaml-size", format!("has more than {MAX_VALUES} values"));
        }
        match self.open.last_mut() {
            Some(Open::List(items)) => items.push(value),
            Some(Open::Map { entries, key }) => match key.take() {
                Some(key) => {
                    entries.insert(key, value);
                }
                // A key that is a collection or an alias; noted above.
                None => *key = Some(String::new()),
            },
            None if value.is_null() => {}
            None if self.documents.len() >= MAX_DOCUMENTS => {
                self.bound(line, "yaml-size", format!("has more than {MAX_DOCUMENTS} documents"));
            }
            None => self.documents.push(Document { line: self.began.max(1), value }),
        }
    }
}

#[cfg(test)]
mod tests;
