//! The client talks REST alone: nothing of it reaches into the controller.

use std::path::{Path, PathBuf};

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn nothing_of_the_client_uses_the_controllers_other_rooms() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/client"), &mut files);
    assert!(files.len() > 30, "{files:?}");
    for file in files.iter().filter(|file| !file.ends_with("walls.rs")) {
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().filter(|line| line.contains("crate::")) {
            assert!(line.contains("crate::client"), "{}: {line}", file.display());
        }
        for foreign in ["cratekube_proto", "cratekube_agent", "rusqlite", "tonic", "axum"] {
            assert!(!text.contains(foreign), "{} knows {foreign}", file.display());
        }
    }
}
