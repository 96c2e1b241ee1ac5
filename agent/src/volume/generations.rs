//! Generations: immutable, numbered copies of a cluster's state files.
//!
//! Sealing copies the files aside, hashing what is copied, makes every file, the manifest and the
//! directory durable, and only then gives it its number by a rename. So a generation is there whole
//! or not at all, and one is never changed. What was left aside by a crash is thrown away. `rke` makes
//! nothing durable: sealing does that for the files that it copies, so that `working/` is what was
//! sealed also after a power loss.
//!
//! Sealing is idempotent per attempt: a seal that is repeated after a crash finds its generation.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::generation::{Manifest, SealedFile};
use cratekube_common::domain::id::{AttemptId, ClusterId, OperationId};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::rke::state;
use cratekube_common::runtime::{fault, files};

use super::VolumeError;
use super::digest;
use super::layout::directories;

/// What we render.
pub const CLUSTER_YML: &str = "cluster.yml";
/// What `rke` knows of the cluster; the one file that must never be lost.
pub const STATE: &str = "cluster.rkestate";
/// The admin's kubeconfig that `rke` writes.
pub const KUBECONFIG: &str = "kube_config_cluster.yml";
/// Everything that is sealed. Whatever else `rke` leaves is temporary.
pub const SEALED: [&str; 3] = [CLUSTER_YML, STATE, KUBECONFIG];

const MANIFEST: &str = "manifest.json";

/// Whose run left the files that are sealed.
#[derive(Debug, Clone)]
pub struct Seal<'a> {
    /// The cluster.
    pub cluster: ClusterId,
    /// The operation.
    pub operation: OperationId,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its fence.
    pub fence: Fence,
    /// The CA that the state must carry; none while none is on record.
    pub ca_on_record: Option<&'a str>,
    /// The generation gets a number above this one, also where the volume does not have that one.
    pub above: u64,
    /// The time.
    pub at: Timestamp,
}

/// The generations of one cluster.
#[derive(Debug, Clone)]
pub struct Generations {
    dir: PathBuf,
}

impl Generations {
    /// The generations in a directory, which need not be there yet.
    #[must_use]
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where a generation is.
    #[must_use]
    pub fn path(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:06}"))
    }

    /// Where the manifest of a generation is.
    #[must_use]
    pub fn manifest_path(&self, number: u64) -> PathBuf {
        self.path(number).join(MANIFEST)
    }

    /// The numbers that are there, in order.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn numbers(&self) -> Result<Vec<u64>, VolumeError> {
        let mut numbers: Vec<u64> = directories(&self.dir)?.iter().filter_map(|path| number_of(path)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The manifest of a generation; none when there is no such generation.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn manifest(&self, number: u64) -> Result<Option<Manifest>, VolumeError> {
        let path = self.manifest_path(number);
        let Some(bytes) = files::read_optional(&path).map_err(VolumeError::io("read", &path))? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| VolumeError::Damaged { path, fault: e.to_string() })
    }

    /// Every manifest, in order.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn list(&self) -> Result<Vec<Manifest>, VolumeError> {
        let numbers = self.numbers()?;
        numbers.into_iter().map(|n| self.expect(n)).collect()
    }

    /// The newest generation.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn newest(&self) -> Result<Option<Manifest>, VolumeError> {
        self.numbers()?.last().map(|n| self.expect(*n)).transpose()
    }

    /// The newest generation that `rke` can be run on.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn newest_good(&self) -> Result<Option<Manifest>, VolumeError> {
        for number in self.numbers()?.into_iter().rev() {
            let manifest = self.expect(number)?;
            if manifest.good {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    fn expect(&self, number: u64) -> Result<Manifest, VolumeError> {
        let missing = || VolumeError::Damaged { path: self.path(number), fault: "its manifest is missing".into() };
        self.manifest(number)?.ok_or_else(missing)
    }

    /// Reads a generation again and compares it with its manifest; gives the difference as a sentence.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn verify(&self, number: u64) -> Result<Option<String>, VolumeError> {
        let (manifest, path) = (self.expect(number)?, self.path(number));
        let found = digest::files(&path, &SEALED).map_err(VolumeError::io("read", &path))?;
        Ok(difference(&manifest.files, &found, &[]))
    }

    /// The newest generation that `rke` can be run on, and that is still what was sealed.
    ///
    /// # Errors
    /// As [`Self::manifest`].
    pub fn newest_verified(&self) -> Result<Option<Manifest>, VolumeError> {
        for number in self.numbers()?.into_iter().rev() {
            let manifest = self.expect(number)?;
            if !manifest.good {
                continue;
            }
            match self.verify(number)? {
                None => return Ok(Some(manifest)),
                Some(fault) => tracing::error!(path = %self.path(number).display(), fault, "a generation is damaged"),
            }
        }
        Ok(None)
    }

    /// The files of a generation but its description, each compared with its checksum.
    ///
    /// # Errors
    /// When what is read is not what was sealed, and from the filesystem.
    pub fn content(&self, number: u64) -> Result<Vec<(String, Vec<u8>)>, VolumeError> {
        let (manifest, path) = (self.expect(number)?, self.path(number));
        let damaged = |fault: String| VolumeError::Damaged { path: path.clone(), fault };
        let mut content = Vec::new();
        for file in manifest.files.iter().filter(|file| file.name != CLUSTER_YML) {
            let bytes = files::read_optional(&path.join(&file.name)).map_err(VolumeError::io("read", &path))?;
            let bytes = bytes.ok_or_else(|| damaged(format!("{} is missing", file.name)))?;
            let (_, sha256) = digest::copy(bytes.as_slice(), |_| Ok(())).map_err(VolumeError::io("read", &path))?;
            if sha256 != file.sha256 {
                return Err(damaged(format!("{} is not what was sealed", file.name)));
            }
            content.push((file.name.clone(), bytes));
        }
        Ok(content)
    }

    /// Seals the state files of a directory as the next generation.
    ///
    /// # Errors
    /// From the filesystem; nothing is half there then.
    pub fn seal(&self, from: &Path, seal: &Seal<'_>) -> Result<Manifest, VolumeError> {
        let newest = self.newest()?;
        let number = newest.as_ref().map_or(0, |m| m.number).max(seal.above) + 1;
        if let Some(sealed) = newest.filter(|m| m.attempt == seal.attempt) {
            return Ok(sealed);
        }
        files::make_child(&self.dir).map_err(VolumeError::io("make", &self.dir))?;
        self.clear_leftovers()?;
        let aside = self.dir.join(format!("{number:06}.tmp-{}", seal.attempt));
        self.seal_aside(from, &aside, number, seal).inspect_err(|_| {
            let _best_effort = files::remove_tree(&aside);
        })
    }

    fn seal_aside(&self, from: &Path, aside: &Path, number: u64, seal: &Seal<'_>) -> Result<Manifest, VolumeError> {
        let sealing = || VolumeError::io("seal into", aside);
        files::make_child(aside).map_err(sealing())?;
        let copied = copy_files(from, aside).map_err(sealing())?;
        make_durable(from, &copied).map_err(sealing())?;
        let manifest = describe(aside, number, seal, copied).map_err(sealing())?;
        let content = serde_json::to_vec_pretty(&manifest).map_err(|e| sealing()(e.into()))?;
        let written = files::write_new(&aside.join(MANIFEST), &content);
        written.and_then(|()| files::sync_dir(aside)).map_err(sealing())?;
        files::rename(aside, &self.path(number)).and_then(|()| files::sync_dir(&self.dir)).map_err(sealing())?;
        Ok(manifest)
    }

    /// Throws away what a crash left aside.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn clear_leftovers(&self) -> Result<(), VolumeError> {
        for path in directories(&self.dir)? {
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains(".tmp-")) {
                files::remove_tree(&path).map_err(VolumeError::io("clear away", &path))?;
            }
        }
        Ok(())
    }

    /// Keeps the newest `keep` generations, and the newest good one in any case.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn prune(&self, keep: usize) -> Result<(), VolumeError> {
        let numbers = self.numbers()?;
        let Some(excess) = numbers.len().checked_sub(keep.max(1)).filter(|n| *n > 0) else { return Ok(()) };
        let good = self.newest_good()?.map(|m| m.number);
        for number in numbers.into_iter().take(excess).filter(|n| Some(*n) != good) {
            // Out of the numbers first, so that no generation is ever seen half deleted.
            let aside = self.dir.join(format!("{number:06}.tmp-pruned"));
            let renamed = files::rename(&self.path(number), &aside).and_then(|()| files::sync_dir(&self.dir));
            renamed.and_then(|()| files::remove_tree(&aside)).map_err(VolumeError::io("prune", &aside))?;
        }
        Ok(())
    }

    /// Copies a generation's state files elsewhere, comparing each with the manifest.
    ///
    /// # Errors
    /// When what is read is not what was sealed, and from the filesystem.
    pub fn copy_out(&self, manifest: &Manifest, to: &Path) -> Result<(), VolumeError> {
        let from = self.path(manifest.number);
        let copied = copy_files(&from, to).map_err(VolumeError::io("copy", &from))?;
        match difference(&manifest.files, &copied, &[]) {
            None => Ok(()),
            Some(fault) => Err(VolumeError::Damaged { path: from, fault }),
        }
    }
}

fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    (name.len() >= 6 && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok())?
}

/// Copies the state files that are there, durably.
///
/// # Errors
/// From the filesystem.
pub fn copy_files(from: &Path, to: &Path) -> io::Result<Vec<SealedFile>> {
    let mut copied = Vec::with_capacity(SEALED.len());
    for name in SEALED {
        let source = match File::open(from.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let path = to.join(name);
        let target = files::create_private(&path)?;
        let (bytes, sha256) = digest::copy(source, |bytes| fault::write_all(&target, &path, bytes))?;
        files::sync(&target, &path)?;
        copied.push(SealedFile { name: name.to_owned(), bytes, sha256 });
    }
    Ok(copied)
}

fn make_durable(dir: &Path, copied: &[SealedFile]) -> io::Result<()> {
    for file in copied {
        let path = dir.join(&file.name);
        files::sync(&File::open(&path)?, &path)?;
    }
    files::sync_dir(dir)
}

/// Writes the state files anew where they are. After an error in making them durable the kernel may have
/// dropped what it still shows; what is written and synced now is really there.
///
/// # Errors
/// From the filesystem.
pub fn write_again(dir: &Path) -> io::Result<()> {
    for name in SEALED {
        let path = dir.join(name);
        if let Some(content) = files::read_optional(&path)? {
            files::write_atomic(&path, &content)?;
        }
    }
    Ok(())
}

fn describe(aside: &Path, number: u64, seal: &Seal<'_>, files: Vec<SealedFile>) -> io::Result<Manifest> {
    let state = files::read_optional(&aside.join(STATE))?;
    let (ca_sha256, fault) = match state.as_deref().map(state::inspect) {
        None => (None, Some("there is no state file".to_owned())),
        Some(Err(fault)) => (None, Some(fault.to_string())),
        Some(Ok(facts)) => {
            let other = seal.ca_on_record.filter(|ca| *ca != facts.ca_sha256);
            let fault = other.map(|ca| format!("the state carries the CA {}, on record is {ca}", facts.ca_sha256));
            (Some(facts.ca_sha256), fault)
        }
    };
    Ok(Manifest {
        number,
        cluster: seal.cluster,
        operation: seal.operation,
        attempt: seal.attempt,
        fence: seal.fence,
        sealed_at: seal.at,
        ca_sha256,
        good: fault.is_none(),
        fault,
        files,
    })
}

/// How two sets of files differ, as a sentence; names in `but` are not compared.
#[must_use]
pub fn difference(recorded: &[SealedFile], found: &[SealedFile], but: &[&str]) -> Option<String> {
    let find = |files: &[SealedFile], name: &str| files.iter().find(|f| f.name == name).cloned();
    let mut differences = Vec::new();
    for name in SEALED.iter().filter(|name| !but.contains(name)) {
        match (find(recorded, name), find(found, name)) {
            (Some(_), None) => differences.push(format!("{name} is missing")),
            (None, Some(_)) => differences.push(format!("{name} is there but was never sealed")),
            (Some(a), Some(b)) if a != b => differences.push(format!(
                "{name} is not what was sealed ({} bytes, sha256 {}; sealed were {} bytes, sha256 {})",
                b.bytes,
                short(&b.sha256),
                a.bytes,
                short(&a.sha256)
            )),
            _ => {}
        }
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use std::fs;
    use uuid::Uuid;

    fn seal(attempt: u128, ca: Option<&str>) -> Seal<'_> {
        Seal {
            cluster: ClusterId(Uuid::from_u128(1)),
            operation: OperationId(Uuid::from_u128(2)),
            attempt: AttemptId(Uuid::from_u128(attempt)),
            fence: Fence(3),
            ca_on_record: ca,
            above: 0,
            at: Timestamp::from_millis(1_795_000_000_000),
        }
    }

    fn place() -> (tempfile::TempDir, Generations, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let working = dir.path().join("working");
        files::make_dir(&working).unwrap();
        let generations = Generations::at(dir.path().join("generations"));
        (dir, generations, working)
    }

    #[test]
    fn a_seal_is_numbered_whole_and_made_once_per_attempt() {
        let (_dir, generations, working) = place();
        assert_eq!(generations.newest().unwrap(), None);
        let ca = fixtures::ca("one");
        fs::write(working.join(STATE), ca.state(&["10.0.0.1"])).unwrap();
        fs::write(working.join("rkestate1234"), b"rke's own temporary file").unwrap();
        let first = generations.seal(&working, &seal(1, None)).unwrap();
        assert_eq!((first.number, first.good, first.ca_sha256.as_deref()), (1, true, Some(ca.sha256.as_str())));
        assert_eq!(first.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), [STATE]);
        fs::write(working.join(KUBECONFIG), b"kind: Config").unwrap();
        assert_eq!(generations.seal(&working, &seal(1, None)).unwrap(), first, "the same attempt seals once");
        let second = generations.seal(&working, &seal(2, None)).unwrap();
        assert_eq!((second.number, second.files.len()), (2, 2));
        assert_eq!(generations.list().unwrap(), [first, second]);
        assert_eq!(generations.verify(2).unwrap(), None);
    }

    #[test]
    fn hostile_row_58_torn_state_is_sealed_but_never_good_and_bit_flips_are_found() {
        let (_dir, generations, working) = place();
        let ca = fixtures::ca("one");
        let state = ca.state(&["10.0.0.1"]);
        fs::write(working.join(STATE), &state).unwrap();
        generations.seal(&working, &seal(1, None)).unwrap();
        for (attempt, torn) in [(2, &state.as_bytes()[..state.len() / 2]), (3, b"".as_slice())] {
            fs::write(working.join(STATE), torn).unwrap();
            let sealed = generations.seal(&working, &seal(attempt, None)).unwrap();
            assert!(!sealed.good && sealed.fault.is_some(), "{sealed:?}");
        }
        fs::write(working.join(STATE), fixtures::ca("two").state(&[])).unwrap();
        let other = generations.seal(&working, &seal(4, Some(&ca.sha256))).unwrap();
        assert!(!other.good && other.fault.unwrap().contains("on record"));
        assert_eq!(generations.newest_good().unwrap().unwrap().number, 1);
        let file = generations.path(1).join(STATE);
        let mut bytes = fs::read(&file).unwrap();
        bytes[100] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(generations.verify(1).unwrap().unwrap().contains("not what was sealed"));
        let manifest = generations.manifest(1).unwrap().unwrap();
        assert!(matches!(generations.copy_out(&manifest, &working), Err(VolumeError::Damaged { .. })));
    }

    #[test]
    fn hostile_row_58_what_a_crash_left_aside_is_cleared_and_never_counted() {
        let (_dir, generations, working) = place();
        let aside = generations.dir.join("000001.tmp-0192");
        fs::create_dir_all(&aside).unwrap();
        assert_eq!(generations.newest().unwrap(), None);
        fs::write(working.join(CLUSTER_YML), b"nodes: []").unwrap();
        assert_eq!(generations.seal(&working, &seal(1, None)).unwrap().number, 1);
        assert!(!aside.exists());
    }

    #[test]
    fn old_generations_go_but_never_the_newest_good_one() {
        let (_dir, generations, working) = place();
        fs::write(working.join(STATE), fixtures::ca("one").state(&[])).unwrap();
        generations.seal(&working, &seal(1, None)).unwrap();
        generations.seal(&working, &seal(2, None)).unwrap();
        fs::write(working.join(STATE), b"").unwrap();
        for attempt in 3..8 {
            generations.seal(&working, &seal(attempt, None)).unwrap();
        }
        generations.prune(3).unwrap();
        assert_eq!(generations.numbers().unwrap(), [2, 5, 6, 7]);
    }
}
