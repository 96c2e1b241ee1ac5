//! The recordings of the real `rke`: nothing of them is touched but what is secret.

use std::path::Path;

use super::Redactor;
use super::tests_classes::redact;

/// The recordings of which something is masked, and how many letters. The ones with secrets inline (08d) show
/// theirs only with `--trace`, which is never asked for; the others name a placeholder and a key of S3.
const MASKED: [(&str, usize); 4] = [
    ("01-help-etcd-snapshot-restore/stdout", 5),
    ("01-help-etcd-snapshot-save/stdout", 5),
    ("08d-secrets-inline-trace/stdout", 19),
    ("B24-snapshot-save-s3-unreachable/cmd", 13),
];

#[test]
fn recordings_pass_as_they_are_but_for_their_secrets() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures");
    let (mut masked, mut looked_at) = (Vec::new(), 0);
    for folder in std::fs::read_dir(captures).unwrap().map(|entry| entry.unwrap().path()) {
        for file in ["stdout", "stderr", "cmd"] {
            let Ok(content) = std::fs::read(folder.join(file)) else { continue };
            looked_at += 1;
            let out = redact(&mut Redactor::new(None), content.chunks(61));
            let letters = out.iter().zip(&content).filter(|(out, was)| out != was).count();
            if letters > 0 {
                masked.push((format!("{}/{file}", folder.file_name().unwrap().to_string_lossy()), letters));
            }
        }
    }
    masked.sort();
    let masked: Vec<(&str, usize)> = masked.iter().map(|(name, letters)| (name.as_str(), *letters)).collect();
    assert_eq!(masked, MASKED);
    assert!(looked_at > 250, "{looked_at}");
}

#[test]
fn hostile_row_72_a_recorded_trace_shows_no_password() {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures/08d-secrets-inline-trace/stdout");
    let content = std::fs::read(trace).unwrap();
    let out = redact(&mut Redactor::new(None), content.chunks(7));
    let secret = "SECRET-REG-PASSWORD";
    assert!(String::from_utf8_lossy(&content).contains(secret) && !String::from_utf8_lossy(&out).contains(secret));
    assert!(String::from_utf8_lossy(&out).contains("password: *******************\\n  is_default: true"));
}
