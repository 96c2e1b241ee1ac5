//! YAML as it is taken in: what is read, and what is refused by which rule.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn one(text: &str) -> Value {
    let mut documents = read(text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0).value
}

fn rules(text: &str) -> Vec<&'static str> {
    read(text).map_or_else(|faults| faults.into_iter().map(|fault| fault.rule).collect(), |_| Vec::new())
}

#[test]
fn documents_are_read_with_their_lines_and_empty_ones_are_left_out() {
    let text = "---\n# only a comment\n---\nkind: A\nlist:\n- 1\n- -2\n- 0.5\n- [x, {y: true}]\n---\n\nkind: |\n  two\n  lines\nnone:\n...\n---\n";
    let read = read(text).unwrap();
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].line, read[1].line), (3, 10));
    assert_eq!(read[0].value, json!({"kind": "A", "list": [1, -2, 0.5, ["x", {"y": true}]]}));
    assert_eq!(read[1].value, json!({"kind": "two\nlines\n", "none": null}));
    assert_eq!(self::read("").unwrap(), []);
}

#[test]
fn hostile_row_05_words_that_parsers_read_in_different_ways_are_named_and_never_guessed() {
    for word in [
        "NO", "yes", "On", "off", "y", "0755", "0644", "0x1F", "0o17", "0b1", "1_000", "-0755", ".inf", "-.INF", ".nan",
    ] {
        assert_eq!(rules(&format!("a: {word}\n")), ["yaml-ambiguous"], "{word}");
        assert_eq!(one(&format!("a: \"{word}\"\n")), json!({"a": word}), "{word}");
        assert_eq!(one(&format!("a: '{word}'\n")), json!({"a": word}), "{word}");
    }
    let mode = read("defaultMode: 0644\n").unwrap_err();
    assert!(mode[0].detail.contains("write 420"), "{mode:?}");
    // Keys are text, whatever they look like: `on:` and `y:` occur in real manifests.
    assert_eq!(one("y: 1\non: 2\n0755: 3\n"), json!({"y": 1, "on": 2, "0755": 3}));
}

#[test]
fn plain_text_numbers_and_truths_are_what_they_look_like() {
    let text = "a: 1:30\nb: 10.42.0.0/16\nc: v1.28\nd: 1e3\ne: 100m\nf: 1.2.3\ng: 2026-11-25\nh: -\ni: 1Gi\nj: 0\nk: 18446744073709551615\nl: True\nm: ~\nn: -9\no: '1'\np: +5\nq: 0.5\nr: e5\ns: 080x\n";
    assert_eq!(
        one(&text.replace("h: -\n", "h: '-'\n")),
        json!({"a": "1:30", "b": "10.42.0.0/16", "c": "v1.28", "d": 1000.0, "e": "100m", "f": "1.2.3", "g": "2026-11-25",
            "h": "-", "i": "1Gi", "j": 0, "k": 18_446_744_073_709_551_615_u64, "l": true, "m": null, "n": -9, "o": "1",
            "p": 5, "q": 0.5, "r": "e5", "s": "080x"})
    );
}

#[test]
fn hostile_row_04_what_a_reader_would_not_see_is_refused_by_a_rule_with_its_line() {
    for (text, rule) in [
        ("a: 1\nb: 2\na: 3\n", "yaml-duplicate-key"),
        ("{\"a\": 1, \"a\": 2}", "yaml-duplicate-key"),
        ("a: &x 1\n", "yaml-anchor"),
        ("a: *x\n", "yaml-alias"),
        ("a:\n  <<: {b: 1}\n", "yaml-merge"),
        ("a: !!python/object b\n", "yaml-tag"),
        ("a: !include /etc/shadow\n", "yaml-tag"),
        ("a: !!int 5\n", "yaml-tag"),
        ("? [a, b]\n: 1\n", "yaml-key"),
        ("%YAML 1.1\n---\na: 1\n", "yaml-syntax"),
        ("a: [1\n", "yaml-syntax"),
        ("a: 1\n  b: 2\n", "yaml-syntax"),
    ] {
        assert_eq!(rules(text).first(), Some(&rule), "{text}");
    }
    let all = read("a: &x 1\nb: *x\nc: 0755\nb: !t 2\n---\nd: 1\nd: 2\n").unwrap_err();
    let found: Vec<_> = all.iter().map(|fault| (fault.line, fault.rule)).collect();
    assert_eq!(
        found,
        [
            (1, "yaml-anchor"),
            (2, "yaml-alias"),
            (3, "yaml-ambiguous"),
            (4, "yaml-duplicate-key"),
            (4, "yaml-tag"),
            (7, "yaml-duplicate-key")
        ]
    );
}

#[test]
fn hostile_row_03_bombs_are_refused_at_a_bound() {
    let laughs: String = (0..9)
        .map(|i| {
            let before = if i == 0 { "lol".to_owned() } else { format!("*a{}", i - 1) };
            format!("a{i}: &a{i} [{}]\n", vec![before; 9].join(", "))
        })
        .collect();
    assert!(rules(&laughs).contains(&"yaml-alias"));
    assert!(rules(&laughs).len() <= MAX_FAULTS, "the list of faults is bounded");
    for (bomb, rule) in [
        (format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)), "yaml-syntax"),
        ((0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect(), "yaml-syntax"),
        (format!("a: [{}]", "1,".repeat(MAX_VALUES + 1)), "yaml-size"),
        ("a: 1\n---\n".repeat(MAX_DOCUMENTS + 1), "yaml-size"),
    ] {
        assert_eq!(rules(&bomb), [rule]);
    }
}

#[test]
fn faults_do_not_repeat_values() {
    let why = format!("{:?}", read("password: hunter2\n   user: x\n").unwrap_err());
    assert!(why.contains("line: 2") && !why.contains("hunter2"), "{why}");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_is_read_as_the_json_that_it_is(value in value().prop_filter("a document", |v| !v.is_null())) {
        prop_assert_eq!(one(&value.to_string()), value);
    }

    #[test]
    fn no_text_is_read_twice_or_panics(text in "[\\PC\n]{0,200}") {
        let _ = read(&text);
    }
}
