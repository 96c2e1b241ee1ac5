//! Looks for what must not be there.

use std::path::{Path, PathBuf};

/// Files below a folder that contain a text.
///
/// # Errors
/// When one cannot be read.
pub fn files_with(folder: &Path, needle: &str) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = waiting.pop() {
        let kind = std::fs::symlink_metadata(&path)?.file_type();
        if kind.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
        } else if kind.is_file() {
            let content = std::fs::read(&path)?;
            if content.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(path);
            }
        }
    }
    Ok(found)
}
