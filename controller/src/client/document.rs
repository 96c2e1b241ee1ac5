//! A cluster's description in a file: YAML or JSON, read under a tight budget.
//!
//! What comes in may be anybody's. Aliases, merge keys, tags, repeated keys and more than one document
//! are refused, so that what is sent is what a reader of the file sees. What the description *means*
//! is judged by the controller alone, which finds every mistake.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use cratekube_common::intake::parse_json;
use serde_json::Value;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy};
use serde_saphyr::{Options, SnippetMode, UserMessageFormatter};

use super::fault::Fault;

/// Largest description that the controller takes.
const MOST_BYTES: usize = 256 * 1024;
/// A thousand nodes with labels have some twenty thousand.
const MOST_NODES: usize = 50_000;
/// A description has seven levels.
const MOST_DEPTH: usize = 24;

/// Reads a description from a file, or from standard input for `-`.
///
/// # Errors
/// When it cannot be read, is too large, or is neither YAML nor JSON.
pub(super) fn read(from: &Path) -> Result<Value, Fault> {
    if from == Path::new("-") {
        return from_reader(std::io::stdin().lock(), "standard input");
    }
    let shown = from.display().to_string();
    let file = File::open(from).map_err(|error| Fault::local(format!("read {shown}"), error))?;
    from_reader(file, &shown)
}

fn from_reader(source: impl Read, from: &str) -> Result<Value, Fault> {
    let mut text = Vec::new();
    let limit = MOST_BYTES as u64 + 1;
    source.take(limit).read_to_end(&mut text).map_err(|error| Fault::local(format!("read {from}"), error))?;
    parse(&text).map_err(|why| {
        let remedy = "Write one document with `name`, perhaps `environment`, and `spec`; `cratekube cluster create --help` has one.";
        Fault::usage(format!("{from} is not a cluster's description\n{why}"), remedy)
    })
}

/// Reads a description. What begins with `{` is JSON.
fn parse(text: &[u8]) -> Result<Value, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("it has more than {MOST_BYTES} bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let document = if text.trim_start().starts_with('{') {
        parse_json(text.as_bytes()).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| explain(&error))?
    };
    if document.is_object() { Ok(document) } else { Err("it is not a mapping".to_owned()) }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_reader_input_bytes: Some(MOST_BYTES),
            max_events: 4 * MOST_NODES,
            max_nodes: MOST_NODES,
            max_depth: MOST_DEPTH,
            flow_nesting_limit: MOST_DEPTH,
            max_aliases: 0,
            max_anchors: 0,
            max_merge_keys: 0,
            max_documents: 1,
            max_total_scalar_bytes: MOST_BYTES,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        // `NO` is a country, `0755` and `1_000` are what was written.
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
    }
}

/// Where and why, without the lines themselves: they may hold a password.
fn explain(error: &serde_saphyr::Error) -> String {
    let options = serde_saphyr::render_options! { formatter: &UserMessageFormatter, snippets: SnippetMode::Off };
    error.render_with_options(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml = "name: web\nspec:\n  kubernetes_version: v1.28.12-rancher1-1\n  nodes:\n  - address: 192.0.2.11\n    roles: [controlplane, etcd, worker]\n";
        let wanted = json!({"name": "web", "spec": {"kubernetes_version": "v1.28.12-rancher1-1",
            "nodes": [{"address": "192.0.2.11", "roles": ["controlplane", "etcd", "worker"]}]}});
        assert_eq!(parse(yaml.as_bytes()), Ok(wanted.clone()));
        assert_eq!(parse(format!("\n {wanted}").as_bytes()), Ok(wanted));
    }

    #[test]
    fn hostile_row_05_words_that_yaml_parsers_disagree_on_stay_what_was_written() {
        let read = parse(b"a: NO\nb: 0755\nc: 1:30\nd: 1_000\ne: yes\nf: true\ng: 7\nh: 'on'\n").unwrap();
        assert_eq!(
            read,
            json!({"a": "NO", "b": "0755", "c": "1:30", "d": "1_000", "e": "yes", "f": true, "g": 7, "h": "on"})
        );
    }

    #[test]
    fn hostile_row_03_bombs_are_refused() {
        let laughs: String = (0..9)
            .map(|i| {
                let before = if i == 0 { "lol".to_owned() } else { format!("*a{}", i - 1) };
                format!("a{i}: &a{i} [{}]\n", vec![before; 9].join(", "))
            })
            .collect();
        let anchor = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1_000), "*a, ".repeat(1_000));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let deep_blocks: String = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        let wide = format!("a: [{}]", "1,".repeat(60_000));
        let deep_json = format!("{{\"a\": {}", "[".repeat(100_000));
        for bomb in [laughs, anchor, deep, deep_blocks, wide, deep_json, "x".repeat(MOST_BYTES + 1)] {
            assert!(!refused(&bomb).is_empty());
        }
    }

    #[test]
    fn hostile_row_04_what_a_reader_would_not_see_is_refused() {
        for trick in [
            "name: a\nname: b\n",
            "{\"name\": \"a\", \"name\": \"b\"}",
            "name: a\n---\nname: b\n",
            "base: &b {x: 1}\nspec: *b\n",
            "spec:\n  <<: {x: 1}\n",
            "name: !!python/object a\n",
            "name: !include /etc/shadow\n",
            "spec: !custom {x: 1}\n",
            "- name: a\n",
            "just text",
            "",
            "a: .inf\n",
        ] {
            assert!(!refused(trick).is_empty(), "{trick:?}");
        }
        assert!(parse(b"a: \xff").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_mistake_names_its_line_and_does_not_repeat_it() {
        let why = refused("name: web\nspec:\n  registry:\n    password: hunter2\n   user: x\n");
        assert!(why.contains("line 5") && !why.contains("hunter2"), "{why}");
        let fault = from_reader(&b"- a"[..], "f.yaml").unwrap_err();
        assert!(fault.lines()[0].contains("f.yaml"), "{fault}");
    }
}
