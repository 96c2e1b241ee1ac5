//! Checksums of files, in constant memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use cratekube_common::domain::generation::SealedFile;
use data_encoding::HEXLOWER;

/// One read; small enough to be nothing, large enough that system calls do not count.
const BUFFER: usize = 64 * 1024;

/// Size and SHA-256 of everything that `from` gives, handed to `to` on the way.
///
/// # Errors
/// From either side.
pub fn copy(mut from: impl Read, mut to: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, String)> {
    let (mut context, mut bytes) = (Context::new(&SHA256), 0u64);
    let mut buffer = vec![0u8; BUFFER];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((bytes, HEXLOWER.encode(context.finish().as_ref()))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(&buffer[..read]);
        to(&buffer[..read])?;
        bytes = bytes.saturating_add(read as u64);
    }
}

/// Size and SHA-256 of a file.
///
/// # Errors
/// From the filesystem.
pub fn file(path: &Path) -> io::Result<(u64, String)> {
    copy(File::open(path)?, |_| Ok(()))
}

/// Describes those of the named files that are in a directory.
///
/// # Errors
/// From the filesystem, except "not found".
pub fn files(dir: &Path, names: &[&str]) -> io::Result<Vec<SealedFile>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        match file(&dir.join(name)) {
            Ok((bytes, sha256)) => found.push(SealedFile { name: (*name).to_owned(), bytes, sha256 }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
