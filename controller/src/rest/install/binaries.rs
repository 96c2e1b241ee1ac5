//! The agents that are given away: files in a folder, with the SHA-256 of each.
//!
//! A checksum is computed when a file is first asked for, and again when its size, time or inode is
//! another: a file that is replaced (by a rename, as packages do) is offered at once.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;

/// What hosts there may be, as `uname -m` names them. A list, so that no name becomes a path.
const ARCHITECTURES: [&str; 2] = ["aarch64", "x86_64"];

/// A program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binary {
    pub(super) arch: &'static str,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// It cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub(super) struct Unreadable {
    pub(super) path: PathBuf,
    pub(super) source: io::Error,
}

/// What tells that a file is another one: size, time in ns, inode.
type Mark = (u64, i64, i64, u64);

#[derive(Debug)]
pub(super) struct Binaries {
    dir: PathBuf,
    known: Arc<Mutex<HashMap<&'static str, (Mark, Binary)>>>,
}

impl Binaries {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, known: Arc::default() }
    }

    /// Every program that there is, in the order of the architectures' names.
    pub(super) async fn all(&self) -> Result<Vec<Binary>, Unreadable> {
        let mut all = Vec::new();
        for arch in ARCHITECTURES {
            all.extend(self.find(arch).await?);
        }
        Ok(all)
    }

    /// The program for an architecture.
    pub(super) async fn find(&self, arch: &str) -> Result<Option<Binary>, Unreadable> {
        let Some(arch) = ARCHITECTURES.into_iter().find(|known| *known == arch) else { return Ok(None) };
        let path = self.dir.join(format!("cratekube-agent-{arch}"));
        let known = Arc::clone(&self.known);
        let looked = tokio::task::spawn_blocking(move || look(arch, path, &known)).await;
        looked.unwrap_or_else(|error| Err(Unreadable { path: self.dir.clone(), source: io::Error::other(error) }))
    }
}

fn look(
    arch: &'static str,
    path: PathBuf,
    known: &Mutex<HashMap<&'static str, (Mark, Binary)>>,
) -> Result<Option<Binary>, Unreadable> {
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Unreadable { path, source }),
    };
    let fault = |source| Unreadable { path: path.clone(), source };
    let now = mark(&file.metadata().map_err(fault)?);
    let remembered = known.lock().unwrap_or_else(PoisonError::into_inner).get(arch).cloned();
    if let Some((_, binary)) = remembered.filter(|(mark, _)| *mark == now) {
        return Ok(Some(binary));
    }
    let sha256 = checksum(file).map_err(fault)?;
    let binary = Binary { arch, path: path.clone(), bytes: now.0, sha256 };
    known.lock().unwrap_or_else(PoisonError::into_inner).insert(arch, (now, binary.clone()));
    Ok(Some(binary))
}

fn mark(meta: &Metadata) -> Mark {
    (meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ino())
}

fn checksum(mut file: impl Read) -> io::Result<String> {
    let (mut context, mut buffer) = (Context::new(&SHA256), vec![0; super::PIECE]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(HEXLOWER.encode(context.finish().as_ref()));
        }
        context.update(&buffer[..read]);
    }
}
