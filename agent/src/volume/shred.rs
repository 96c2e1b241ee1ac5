//! Shreds what is kept of a removed cluster: its generations, its runs, and whatever is left in `working/`.
//!
//! First the parts are moved to one place by renames, so that whoever looks finds them whole or not at all;
//! what is to go is written down, each file is overwritten with zeros, made durable and unlinked; then the
//! note is closed. It can be killed anywhere and is simply done again. `output.log` is unlinked only: no
//! secrets are in it, and it may be a gigabyte.
//!
//! Overwriting is what can be done from here. Where a filesystem or a disk writes new blocks instead of the
//! old ones (copy on write, flash), or snapshots of the volume were taken, old content may live on: encrypt
//! the volume.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{fault, files};
use serde::{Deserialize, Serialize};

use super::VolumeError;
use super::layout::{ClusterDir, Layout};
use super::tombstone::{read_json, write_json};

/// Where everything is that is being shredded.
const ASIDE: &str = "shredding";
/// Only unlinked.
const OUTPUT: &str = "output.log";
/// One write.
const BLOCK: usize = 256 * 1024;
/// Deepest folder: runs have two levels.
const DEEPEST: u32 = 16;

/// What `shredded.json` in a cluster's directory says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shredded {
    /// When it began.
    pub began_at: Timestamp,
    /// When nothing was left; none as long as it goes on.
    pub ended_at: Option<Timestamp>,
    /// What was shredded, by the path in the cluster's directory.
    pub files: Vec<ShreddedFile>,
}

/// One file that was shredded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShreddedFile {
    /// Path in the cluster's directory.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What has been shredded of a cluster; none when that has not begun.
///
/// # Errors
/// When that cannot be read, or is damaged.
pub fn read(dir: &ClusterDir) -> Result<Option<Shredded>, VolumeError> {
    read_json(&dir.shredded())
}

/// Shreds what is kept of a removed cluster. Called with the cluster's lock, on a directory that was put
/// away.
///
/// # Errors
/// From the filesystem, and for links that somebody planted; it goes on where it was when it is done again.
pub fn shred(layout: &Layout, dir: &ClusterDir, now: Timestamp) -> Result<Shredded, VolumeError> {
    let aside = dir.path().join(ASIDE);
    layout.check_cluster(dir)?;
    [aside.clone(), dir.working()].iter().try_for_each(|path| layout.check(path))?;
    let begun = Shredded { began_at: now, ended_at: None, files: Vec::new() };
    let mut note = read(dir)?.unwrap_or(begun);
    // What an interrupted pass had moved goes first, so that every name is free again.
    clear(dir, &aside, &mut note)?;
    for part in [dir.generations(), dir.working(), dir.runs()] {
        put_aside(&part, &aside)?;
    }
    clear(dir, &aside, &mut note)?;
    note.ended_at = note.ended_at.or(Some(now));
    write_json(&dir.shredded(), &note)?;
    Ok(note)
}

fn put_aside(part: &Path, aside: &Path) -> Result<(), VolumeError> {
    files::make_child(aside).map_err(VolumeError::io("make", aside))?;
    let to = aside.join(part.file_name().unwrap_or_default());
    match files::rename(part, &to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(VolumeError::io("put aside", part)(error)),
        _ => Ok(()),
    }
}

/// Shreds everything that is aside.
fn clear(dir: &ClusterDir, aside: &Path, note: &mut Shredded) -> Result<(), VolumeError> {
    let mut found = Vec::new();
    list(aside, 0, &mut found).map_err(VolumeError::io("list", aside))?;
    if found.is_empty() && !aside.is_dir() {
        return Ok(());
    }
    for (path, bytes) in &found {
        let name = path.strip_prefix(aside).unwrap_or(path).display().to_string();
        if !note.files.iter().any(|file| file.path == name) {
            note.files.push(ShreddedFile { path: name, bytes: *bytes });
        }
    }
    note.files.sort_by(|a, b| a.path.cmp(&b.path));
    // Written down before anything is lost.
    write_json(&dir.shredded(), note)?;
    files::sync_dir(aside).map_err(VolumeError::io("make durable", aside))?;
    for (path, bytes) in &found {
        destroy(path, *bytes).map_err(VolumeError::io("shred", path))?;
    }
    files::remove_tree(aside).map_err(VolumeError::io("remove", aside))?;
    files::sync_dir(dir.path()).map_err(VolumeError::io("make durable", dir.path()))
}

/// Every file below a folder with its size. Links are listed with none, and never followed.
fn list(folder: &Path, depth: u32, found: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            if depth >= DEEPEST {
                return Err(io::Error::other(format!(
                    "{} is deeper than anything that is made here",
                    folder.display()
                )));
            }
            list(&entry.path(), depth + 1, found)?;
        } else {
            found.push((entry.path(), if metadata.is_file() { metadata.len() } else { 0 }));
        }
    }
    found.sort();
    Ok(())
}

fn destroy(path: &Path, bytes: u64) -> io::Result<()> {
    let is_output = path.file_name().is_some_and(|name| name == OUTPUT);
    if bytes > 0 && !is_output {
        let file = OpenOptions::new().write(true).open(path)?;
        let zeros = vec![0u8; BLOCK];
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        while left > 0 {
            let size = left.min(BLOCK);
            fault::write_all(&file, path, &zeros[..size])?;
            left -= size;
        }
        files::sync(&file, path)?;
    }
    files::remove(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::layout::ClusterFile;
    use cratekube_common::domain::id::ClusterId;
    use cratekube_common::runtime::fault::{Act, Plan, install};
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);
    const SECRET: &str = "key-canary";

    /// A removed cluster with its secrets in many places.
    fn grave() -> (tempfile::TempDir, Layout, ClusterDir) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::open(root.path()).unwrap();
        let file = ClusterFile {
            format_version: 1,
            cluster: ClusterId(Uuid::from_u128(1)),
            environment: "prod".parse().unwrap(),
            name: "blue".parse().unwrap(),
            ca_sha256: None,
            hosts: BTreeSet::new(),
            wiped: BTreeSet::new(),
            removing: BTreeSet::new(),
        };
        let (dir, _) = layout.claim(&file).unwrap();
        for place in ["generations/000001/cluster.rkestate", "runs/a/aside/cluster.rkestate", "working/kube.yml"] {
            let path = dir.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, SECRET.repeat(40_000)).unwrap();
        }
        fs::write(dir.path().join("runs/a/output.log"), "no secret").unwrap();
        (root, layout, dir)
    }

    fn secrets(root: &Path) -> usize {
        let mut found = Vec::new();
        list(root, 0, &mut found).unwrap();
        let holds = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains(SECRET));
        found.iter().filter(|(path, _)| holds(path)).count()
    }

    #[test]
    fn everything_is_overwritten_and_unlinked_and_what_it_was_is_written_down() {
        let (root, layout, dir) = grave();
        let held: Vec<_> = ["generations/000001/cluster.rkestate", "runs/a/aside/cluster.rkestate"]
            .iter()
            .map(|place| fs::File::open(dir.path().join(place)).unwrap())
            .collect();
        let note = shred(&layout, &dir, NOW).unwrap();
        assert_eq!((note.ended_at, note.files.len(), secrets(root.path())), (Some(NOW), 4, 0));
        for mut file in held {
            let mut content = Vec::new();
            io::Read::read_to_end(&mut file, &mut content).unwrap();
            assert!(content.len() == SECRET.len() * 40_000 && content.iter().all(|&byte| byte == 0));
        }
        let left: BTreeSet<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["cluster.json", "shredded.json"].map(Into::into).into());
        assert_eq!(read(&dir).unwrap(), Some(note.clone()));
        assert_eq!(shred(&layout, &dir, NOW.after(std::time::Duration::from_secs(9))).unwrap(), note, "once is enough");
    }

    #[test]
    fn a_shredding_that_fails_at_any_step_is_finished_by_the_next_and_names_every_file() {
        for act in [Act::FULL, Act::BROKEN] {
            for nth in 1.. {
                let (root, layout, dir) = grave();
                let plan = install(Plan::at(act, nth, &root.path().display().to_string()));
                let failed = shred(&layout, &dir, NOW).is_err();
                if plan.struck() == 0 {
                    assert!(!failed && nth > 20, "{nth} steps");
                    break;
                }
                drop(plan);
                let note = shred(&layout, &dir, NOW).unwrap();
                let names: Vec<_> = note.files.iter().map(|file| file.path.as_str()).collect();
                let all = [
                    "generations/000001/cluster.rkestate",
                    "runs/a/aside/cluster.rkestate",
                    "runs/a/output.log",
                    "working/kube.yml",
                ];
                assert_eq!((names, secrets(root.path())), (all.to_vec(), 0), "{act:?} at {nth}");
            }
        }
    }

    #[test]
    fn hostile_row_02_a_link_is_unlinked_and_what_it_leads_to_stays() {
        let (_root, layout, dir) = grave();
        let outside = tempfile::tempdir().unwrap();
        let kept = outside.path().join("kept");
        fs::write(&kept, "kept").unwrap();
        symlink(&kept, dir.generations().join("000001/kube_config_cluster.yml")).unwrap();
        symlink(outside.path(), dir.runs().join("b")).unwrap();
        shred(&layout, &dir, NOW).unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
        fs::remove_dir_all(dir.path()).unwrap();
        symlink(outside.path(), dir.path()).unwrap();
        assert!(matches!(shred(&layout, &dir, NOW), Err(VolumeError::Unsafe { .. })));
        assert!(kept.exists());
    }
}
