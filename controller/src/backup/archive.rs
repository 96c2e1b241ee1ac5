//! The file that a backup is: entries, then the list of them, then the list's seal.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::files;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::BackupError;
use crate::keys::Envelope;

/// The list of what is in a backup.
const CONTENTS: &str = "contents.json";
/// What the list is sealed as.
const SEAL: &str = "contents.sealed";
/// What it is sealed for.
const CONTEXT: &[u8] = b"backup/contents";
/// Layout of backups.
const FORMAT: u32 = 1;
/// Longest list that is read: hundreds of thousands of outputs.
const LONGEST_CONTENTS: u64 = 256 << 20;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Contents {
    /// Layout.
    pub(super) format: u32,
    /// The controller's identity.
    pub(super) controller: Uuid,
    /// The release that made it.
    pub(super) release: String,
    /// When it was made.
    pub(super) made_at: Timestamp,
    /// Its files.
    pub(super) files: Vec<Entry>,
}

/// A file in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its path within the data directory.
    pub(super) name: String,
    /// Its length.
    pub(super) bytes: u64,
    /// SHA-256, lower-case hex.
    pub(super) sha256: String,
}

/// Writes a backup; it appears under its name when it is whole.
pub(super) struct Writer {
    tar: tar::Builder<BufWriter<File>>,
    aside: Aside,
    target: PathBuf,
    files: Vec<Entry>,
}

impl Writer {
    /// Begins a backup.
    pub(super) fn create(target: &Path) -> Result<Self, BackupError> {
        if target.symlink_metadata().is_ok() {
            return Err(BackupError::Taken(target.display().to_string()));
        }
        let aside = beside(target, "partial");
        let file = files::create_private(&aside).map_err(BackupError::file(&aside))?;
        file.set_len(0).map_err(BackupError::file(&aside))?;
        let tar = tar::Builder::new(BufWriter::with_capacity(1 << 20, file));
        Ok(Self { tar, aside: Aside(aside), target: target.to_owned(), files: Vec::new() })
    }

    /// Adds a file of which `bytes` bytes are kept.
    pub(super) fn add(&mut self, name: &str, bytes: u64, from: impl Read) -> Result<(), BackupError> {
        let mut reader = Summing { inner: from.take(bytes), sum: Context::new(&SHA256), read: 0 };
        let appended = self.tar.append_data(&mut header(bytes), name, &mut reader);
        appended.map_err(BackupError::file(&self.aside.0))?;
        if reader.read != bytes {
            let short = io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is shorter than it was"));
            return Err(BackupError::file(&self.aside.0)(short));
        }
        self.files.push(Entry { name: name.to_owned(), bytes, sha256: hex(reader.sum) });
        Ok(())
    }

    /// Ends it: the list, its seal, and the name. Answers how long it is.
    pub(super) fn finish(
        mut self,
        controller: Uuid,
        made_at: Timestamp,
        envelope: &Envelope,
    ) -> Result<u64, BackupError> {
        let files = std::mem::take(&mut self.files);
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let contents = Contents { format: FORMAT, controller, release, made_at, files };
        let fault = |e: serde_json::Error| BackupError::unusable(&self.aside.0, e.to_string());
        let list = serde_json::to_vec_pretty(&contents).map_err(fault)?;
        let seal = envelope.seal(CONTEXT, digest(&list).as_bytes());
        for (name, bytes) in [(CONTENTS, &list), (SEAL, &seal)] {
            let written = self.tar.append_data(&mut header(bytes.len() as u64), name, &bytes[..]);
            written.map_err(BackupError::file(&self.aside.0))?;
        }
        let end = || {
            let file = self.tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            files::sync(&file, &self.aside.0)?;
            let length = file.metadata()?.len();
            files::rename(&self.aside.0, &self.target)?;
            files::sync_dir(self.target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
            Ok(length)
        };
        end().map_err(BackupError::file(&self.target))
    }
}

/// Unpacks a backup into a directory, and answers its list: every file is there, whole, and as it was.
/// Only names that `is_known` are taken.
pub(super) fn unpack(
    archive: &Path,
    into: &Path,
    is_known: impl Fn(&str) -> bool,
    envelope: &Envelope,
) -> Result<Contents, BackupError> {
    let opened = File::open(archive).map_err(BackupError::file(archive))?;
    let mut tar = tar::Archive::new(BufReader::with_capacity(1 << 20, opened));
    let (mut found, mut list, mut seal) = (Vec::new(), None, None);
    let damaged = |e: io::Error| BackupError::unusable(archive, format!("it cannot be read: {e}"));
    for entry in tar.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.to_string_lossy().into_owned();
        match name.as_str() {
            CONTENTS => list = Some(whole(&mut entry).map_err(damaged)?),
            SEAL => seal = Some(whole(&mut entry).map_err(damaged)?),
            known if is_known(known) => found.push(unpack_file(into, known, &mut entry)?),
            other => return Err(BackupError::unusable(archive, format!("{other:?} does not belong into a backup"))),
        }
    }
    let (Some(list), Some(seal)) = (list, seal) else {
        return Err(BackupError::unusable(archive, "it was cut off: its list of contents is missing"));
    };
    let sealed = envelope.open(CONTEXT, &seal).map_err(|_| BackupError::OtherKey)?;
    if *sealed != digest(&list).as_bytes() {
        return Err(BackupError::unusable(archive, "its list of contents was changed"));
    }
    let fault = |e: serde_json::Error| BackupError::unusable(archive, format!("its list of contents: {e}"));
    let contents: Contents = serde_json::from_slice(&list).map_err(fault)?;
    if contents.format > FORMAT {
        return Err(BackupError::unusable(archive, format!("it is of a newer release ({})", contents.release)));
    }
    if let Some(wrong) = contents.files.iter().find(|file| !found.contains(file)) {
        return Err(BackupError::unusable(archive, format!("{} is missing or was changed", wrong.name)));
    }
    if found.len() != contents.files.len() {
        return Err(BackupError::unusable(archive, "it has files that are not on its list"));
    }
    Ok(contents)
}

fn unpack_file(into: &Path, name: &str, from: impl Read) -> Result<Entry, BackupError> {
    let path = into.join(name);
    let write = || {
        if let Some(dir) = path.parent() {
            files::make_dir(dir)?;
        }
        let mut file = files::create_private(&path)?;
        let mut reader = Summing { inner: from, sum: Context::new(&SHA256), read: 0 };
        io::copy(&mut reader, &mut file)?;
        files::sync(&file, &path)?;
        Ok(Entry { name: name.to_owned(), bytes: reader.read, sha256: hex(reader.sum) })
    };
    write().map_err(BackupError::file(&path))
}

/// A file beside another one.
pub(super) fn beside(target: &Path, what: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".{what}"));
    name.into()
}

fn header(bytes: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

fn whole(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST_CONTENTS).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn digest(bytes: &[u8]) -> String {
    let mut sum = Context::new(&SHA256);
    sum.update(bytes);
    hex(sum)
}

fn hex(sum: Context) -> String {
    data_encoding::HEXLOWER.encode(sum.finish().as_ref())
}

/// Sums up what is read.
struct Summing<R> {
    inner: R,
    sum: Context,
    read: u64,
}

impl<R: Read> Read for Summing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.sum.update(&buffer[..read]);
        self.read += read as u64;
        Ok(read)
    }
}

/// A file that is not one yet; it goes away unless it was renamed.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        let _often_renamed = files::remove(&self.0);
    }
}
