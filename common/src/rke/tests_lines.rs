//! Lines: forms, escapes, and hostile streams (`hostile.md` row 71).

use proptest::prelude::*;

use super::lines::{Level, Line, LineReader, MAX_LINE};

fn parsed(raw: &str) -> (Option<Level>, String) {
    let line = Line::parse(raw.as_bytes());
    (line.level, line.message().into_owned())
}

fn lines(chunks: &[&[u8]]) -> Vec<(Option<Level>, Vec<u8>)> {
    let (mut reader, mut seen) = (LineReader::new(), Vec::new());
    for chunk in chunks {
        reader.feed(chunk, |line| seen.push((line.level, line.raw.to_vec())));
    }
    reader.finish(|line| seen.push((line.level, line.raw.to_vec())));
    seen
}

#[test]
fn every_form_that_rke_writes_is_read() {
    for (raw, level, message) in [
        (
            r#"time="2026-11-23T17:00:29Z" level=info msg="Building Kubernetes cluster""#,
            Some(Level::Info),
            "Building Kubernetes cluster",
        ),
        (
            r#"time="2026-11-23T17:00:29+02:00" level=warning msg="a \"b\" \\ \n\t\x1b\u00e9\U0001f600""#,
            Some(Level::Warning),
            "a \"b\" \\ \n\t\u{1b}é😀",
        ),
        (r#"time="2026-11-23T17:00:29Z" level=fatal msg=EOF"#, Some(Level::Fatal), "EOF"),
        (
            r#"Are you sure you want to remove Kubernetes cluster [y/n]: time="2026-11-23T17:00:29Z" level=fatal msg=EOF"#,
            Some(Level::Fatal),
            "EOF",
        ),
        ("\u{1b}[31mFATA\u{1b}[0m[0010] it \"broke\" \\n          ", Some(Level::Fatal), "it \"broke\" \\n"),
        ("\u{1b}[36mINFO\u{1b}[0m[0000] ok\r", Some(Level::Info), "ok"),
        ("rke version v1.2.23", None, "rke version v1.2.23"),
        (r#"time="2026" level=loud msg="x""#, None, r#"time="2026" level=loud msg="x""#),
        (r#"time="2026-11-23T17:00:29Z" level=error msg="cut he"#, Some(Level::Error), "cut he"),
        (r#"time="2026-11-23T17:00:29Z" level=error msg="a" field="b""#, Some(Level::Error), "a"),
        ("", None, ""),
    ] {
        assert_eq!(parsed(raw), (level, message.to_owned()), "{raw}");
    }
}

#[test]
fn hostile_row_71_a_line_without_end_is_handed_on_in_pieces_of_bounded_size() {
    let flood = vec![b'x'; 1 << 20];
    let (mut reader, mut total, mut longest) = (LineReader::new(), 0, 0);
    for _ in 0..64 {
        reader.feed(&flood, |line| {
            total += line.raw.len();
            longest = longest.max(line.raw.len());
        });
    }
    reader.finish(|line| total += line.raw.len());
    assert_eq!((total, longest), (64 << 20, MAX_LINE));
}

#[test]
fn hostile_row_71_only_the_first_piece_of_a_line_can_be_an_event() {
    let mut raw = vec![b'x'; MAX_LINE];
    raw.extend_from_slice(b"time=\"2026-11-23T17:00:29Z\" level=info msg=\"Finished\"\nnext\n");
    let levels: Vec<_> = lines(&[&raw]).into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, [None, None, None]);
}

#[test]
fn hostile_row_71_nul_and_invalid_utf8_do_no_harm() {
    let seen = lines(&[b"a\0b\n\xff\xfe\ntime=\"t\" level=info msg=\"\xc3\x28 \\xff\"\n"]);
    assert_eq!(seen.len(), 3);
    assert_eq!(Line::parse(&seen[1].1).message(), "\u{fffd}\u{fffd}");
    assert_eq!(Line::parse(&seen[2].1).message(), "\u{fffd}( \u{fffd}");
}

#[test]
fn a_line_of_exactly_the_limit_has_no_empty_piece_behind_it() {
    let mut raw = vec![b'x'; MAX_LINE];
    raw.extend_from_slice(b"\ny\n");
    let lengths: Vec<_> = lines(&[&raw]).iter().map(|(_, raw)| raw.len()).collect();
    assert_eq!(lengths, [MAX_LINE, 1]);
}

proptest! {
    #[test]
    fn cutting_the_stream_elsewhere_changes_nothing(text in prop::collection::vec(prop::sample::select(b"ab\n\r\"\\\0\xff".to_vec()), 0..400), at in 0usize..400) {
        let at = at.min(text.len());
        prop_assert_eq!(lines(&[&text[..at], &text[at..]]), lines(&[&text]));
        let whole: Vec<u8> = text.iter().copied().filter(|b| *b != b'\n' && *b != b'\r').collect();
        let joined: Vec<u8> = lines(&[&text]).into_iter().flat_map(|(_, raw)| raw).filter(|b| *b != b'\r').collect();
        prop_assert_eq!(whole, joined);
    }

    #[test]
    fn what_go_would_quote_comes_back(text in "[ -~\n\t\r\\\\\"é😀]{0,80}") {
        let mut quoted = String::new();
        for c in text.chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                '\r' => quoted.push_str("\\r"),
                c => quoted.push(c),
            }
        }
        let raw = format!("time=\"2026-11-23T17:00:29Z\" level=info msg=\"{quoted}\"");
        prop_assert_eq!(parsed(&raw), (Some(Level::Info), text));
    }

    #[test]
    fn no_bytes_make_it_panic(raw in prop::collection::vec(any::<u8>(), 0..200)) {
        for start in ["", "time=\"x\" level=info msg=\"", "\u{1b}[31mFATA\u{1b}[0m[00", "q: time=\""] {
            let mut bytes = start.as_bytes().to_vec();
            bytes.extend_from_slice(&raw);
            let _ = Line::parse(&bytes).message();
        }
    }
}
