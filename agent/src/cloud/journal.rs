//! The journal of a sweep: what was found, what is being deleted, how it ended.
//!
//! One file per operation in the cluster's directory, one JSON object a line, each line durable before
//! what follows it is done. A sweep that was killed after any call finds here what it had found and begun,
//! so that its report stays whole: what is deleted can be seen nowhere else any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::removal::{CloudObject, Entry, Fate, ObjectKey};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::{fault, files};
use serde::{Deserialize, Serialize};

use super::plan::{Doomed, Scan};

/// Folder of a cluster's directory that holds the journals of its removals.
const FOLDER: &str = "removal";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// Belongs to the cluster and is to go.
    Found(Entry),
    /// Is being deleted.
    Deleting(ObjectKey),
    /// How it ended.
    Ended { object: ObjectKey, fate: Fate, at: Timestamp },
}

#[derive(Debug, Clone)]
struct Known {
    entry: Entry,
    begun: bool,
}

/// A journal, open for more.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    known: BTreeMap<ObjectKey, Known>,
}

impl Journal {
    /// Where the journal of an operation is in a cluster's directory.
    #[must_use]
    pub fn path(cluster_dir: &Path, operation: OperationId) -> PathBuf {
        cluster_dir.join(FOLDER).join(format!("{operation}.jsonl"))
    }

    /// Opens a journal, or begins it. A last line that a crash tore is dropped: what it was to announce was
    /// not done.
    ///
    /// # Errors
    /// From the filesystem, or when the journal is damaged elsewhere than at its end.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            files::make_child(folder)?;
        }
        let bytes = files::read_optional(path)?.unwrap_or_default();
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() || bytes.is_empty() {
            files::write_atomic(path, &bytes[..whole])?;
        }
        let mut known = BTreeMap::new();
        for line in bytes[..whole].split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
            let line = serde_json::from_slice(line).map_err(|e| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged: {e}", path.display()))
            })?;
            apply(&mut known, line);
        }
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, known })
    }

    /// Notes objects that are to go, unless they are known.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn found(&mut self, doomed: &[Doomed]) -> io::Result<()> {
        let new = doomed.iter().filter(|doomed| !self.known.contains_key(&doomed.object.key()));
        let entry = |doomed: &Doomed| Entry::of(&doomed.object, Some(doomed.proof.clone()), doomed.cents);
        let lines = new.map(|doomed| Line::Found(entry(doomed))).collect();
        self.write(lines)
    }

    /// Notes that an object is about to be deleted.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn deleting(&mut self, object: ObjectKey) -> io::Result<()> {
        if self.known.get(&object).is_some_and(|known| known.begun) {
            return Ok(());
        }
        self.write(vec![Line::Deleting(object)])
    }

    /// Notes that an object is gone; who was the first to see it deleted counts.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn gone(&mut self, object: ObjectKey, fate: Fate, at: Timestamp) -> io::Result<()> {
        if self.known.get(&object).is_some_and(|known| known.entry.at.is_some()) {
            return Ok(());
        }
        self.write(vec![Line::Ended { object, fate, at }])
    }

    /// Notes what is known, is not gone, and was not seen by a scan that could see it: where its deletion
    /// had begun it was that (the process was killed before it could say so), otherwise someone else's.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn vanished(&mut self, scan: &Scan, at: Timestamp) -> io::Result<()> {
        let seen: BTreeSet<_> = scan.objects.iter().map(CloudObject::key).collect();
        let gone = self
            .known
            .iter()
            .filter(|(key, known)| known.entry.at.is_none() && scan.saw(key.kind) && !seen.contains(key));
        let fate = |known: &Known| if known.begun { Fate::Deleted } else { Fate::AlreadyGone };
        let lines = gone.map(|(key, known)| Line::Ended { object: key.clone(), fate: fate(known), at }).collect();
        self.write(lines)
    }

    /// What became of every object that was to go; the fate of what is not gone is [`Fate::WouldGo`].
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.known.values().map(|known| known.entry.clone()).collect()
    }

    /// Ids of everything that was to go.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<String> {
        self.known.keys().map(|key| key.id.clone()).collect()
    }

    fn write(&mut self, lines: Vec<Line>) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        for line in &lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        fault::write_all(&self.file, &self.path, &bytes)?;
        files::sync(&self.file, &self.path)?;
        for line in lines {
            apply(&mut self.known, line);
        }
        Ok(())
    }
}

fn apply(known: &mut BTreeMap<ObjectKey, Known>, line: Line) {
    match line {
        Line::Found(entry) => {
            known.entry(entry.key()).or_insert(Known { entry, begun: false });
        }
        Line::Deleting(key) => {
            if let Some(known) = known.get_mut(&key) {
                known.begun = true;
            }
        }
        Line::Ended { object, fate, at } => {
            if let Some(known) = known.get_mut(&object) {
                known.entry.fate = fate;
                known.entry.at = Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::testing::object;
    use cratekube_common::domain::removal::{CloudKind, Proof};

    fn doomed(id: &str) -> Doomed {
        Doomed { object: object(CloudKind::Volume, id), proof: Proof::Recorded, cents: 5 }
    }

    fn fates(journal: &Journal) -> Vec<(String, Fate)> {
        journal.entries().into_iter().map(|entry| (entry.id, entry.fate)).collect()
    }

    const AT: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    #[test]
    fn what_was_begun_and_is_gone_was_deleted_by_the_sweep_and_the_rest_by_someone_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = Journal::path(dir.path(), uuid::Uuid::from_u128(1).into());
        let all = ["vol-1", "vol-2", "vol-3", "vol-4"];
        let mut journal = Journal::open(&path).unwrap();
        journal.found(&all.map(doomed)).unwrap();
        let key = |id: &str| doomed(id).object.key();
        journal.deleting(key("vol-1")).unwrap();
        journal.gone(key("vol-1"), Fate::Deleted, AT).unwrap();
        journal.deleting(key("vol-2")).unwrap();
        drop(journal);
        let mut journal = Journal::open(&path).unwrap();
        journal.vanished(&Scan { objects: vec![object(CloudKind::Volume, "vol-4")], faults: Vec::new() }, AT).unwrap();
        // What was deleted once stays so, also when the cloud shows it for a while.
        journal.gone(key("vol-1"), Fate::AlreadyGone, AT).unwrap();
        let expected = [Fate::Deleted, Fate::Deleted, Fate::AlreadyGone, Fate::WouldGo];
        let expected: Vec<_> = all.iter().map(|&id| id.to_owned()).zip(expected).collect();
        assert_eq!(fates(&journal), expected);
        drop(journal);
        assert_eq!(fates(&Journal::open(&path).unwrap()), expected, "the journal reads back what it says");
    }

    #[test]
    fn a_scan_that_could_not_see_a_kind_says_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&dir.path().join("removal/j")).unwrap();
        journal.found(&[doomed("vol-1")]).unwrap();
        let blind = crate::cloud::CloudFault::Unavailable("busy".into());
        journal.vanished(&Scan { objects: Vec::new(), faults: vec![(CloudKind::Volume, blind)] }, AT).unwrap();
        assert_eq!(fates(&journal), [("vol-1".to_owned(), Fate::WouldGo)]);
    }

    #[test]
    fn a_torn_last_line_is_dropped_and_damage_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("removal/j");
        let mut journal = Journal::open(&path).unwrap();
        journal.found(&[doomed("vol-1")]).unwrap();
        journal.deleting(doomed("vol-1").object.key()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|&b| b == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole[..first]);
            journal.deleting(doomed("vol-1").object.key()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "it goes on behind the last whole line");
        }
        std::fs::write(&path, [b"{}\n", &whole[..]].concat()).unwrap();
        assert!(Journal::open(&path).unwrap_err().to_string().contains("damaged"));
    }
}
