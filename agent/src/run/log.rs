//! The output file of a run: without secrets, bounded, and never in `rke`'s way.
//!
//! Secrets are masked before anything reaches the disk ([`cratekube_common::redact`]), each byte by another, so that an offset in
//! the file is one in the output. Who asks for what is known to be secret is the supervisor.
//!
//! Head and tail are kept. The head goes to the file as it comes; what comes after it stays in a ring
//! in memory and is written at the end, behind a line that says how much was left out. A disk that is
//! full ends the head early: the output goes on into the ring, and `rke` never waits.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use cratekube_common::redact::{KnownSecrets, Redactor};
use cratekube_common::runtime::fault::{self, Step};
use cratekube_common::runtime::files;

/// Most bytes kept of the end.
const TAIL: u64 = 1 << 20;

/// Writes one run's output.
#[derive(Debug)]
pub struct OutputLog {
    redactor: Redactor,
    kept: Bounded,
}

/// Head and tail of what comes.
#[derive(Debug)]
struct Bounded {
    file: File,
    path: PathBuf,
    head_left: u64,
    tail_limit: usize,
    tail: VecDeque<u8>,
    written: u64,
    dropped: u64,
    stopped: bool,
}

/// What became of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Bytes in the file.
    pub bytes: u64,
    /// Bytes left out.
    pub dropped: u64,
    /// True when even the end could not be written.
    pub failed: bool,
}

impl OutputLog {
    /// Writes to a file that is empty; keeps at most about `cap` bytes.
    #[must_use]
    pub fn new(file: File, path: PathBuf, cap: u64) -> Self {
        let tail = TAIL.min(cap / 2);
        let tail_limit = usize::try_from(tail).unwrap_or(usize::MAX);
        let kept = Bounded {
            file,
            path,
            head_left: cap - tail,
            tail_limit,
            tail: VecDeque::new(),
            written: 0,
            dropped: 0,
            stopped: false,
        };
        Self { redactor: Redactor::new(None), kept }
    }

    /// Masks these secrets too; to be said before there is output.
    pub fn know(&mut self, secrets: &KnownSecrets) {
        self.redactor = Redactor::new(Some(secrets));
    }

    /// Takes the next bytes.
    pub fn append(&mut self, chunk: &[u8]) {
        self.kept.append(self.redactor.pass(chunk));
    }

    /// True when the file could not be written to before its bound was reached: the end needs space.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.kept.stopped
    }

    /// Writes what was held back, and the tail.
    pub fn finish(&mut self) -> Kept {
        self.kept.append(self.redactor.finish());
        self.kept.finish()
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// From the filesystem.
    pub fn sync(&self) -> io::Result<()> {
        files::sync(&self.kept.file, &self.kept.path)
    }
}

impl Bounded {
    fn append(&mut self, mut chunk: &[u8]) {
        while self.head_left > 0 && !chunk.is_empty() {
            let room = usize::try_from(self.head_left).unwrap_or(usize::MAX).min(chunk.len());
            match fault::step(Step::Write(&chunk[..room]), &self.path).and_then(|()| self.file.write(&chunk[..room])) {
                Ok(0) => self.head_left = 0,
                Ok(written) => {
                    self.head_left -= written as u64;
                    self.written += written as u64;
                    chunk = &chunk[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Full or broken: what comes from here on is kept in memory as far as it fits.
                Err(_) => (self.head_left, self.stopped) = (0, true),
            }
        }
        self.keep(chunk);
    }

    fn keep(&mut self, chunk: &[u8]) {
        let excess = (self.tail.len() + chunk.len()).saturating_sub(self.tail_limit);
        self.dropped += excess as u64;
        let from_ring = excess.min(self.tail.len());
        self.tail.drain(..from_ring);
        self.tail.extend(&chunk[excess - from_ring..]);
    }

    /// Writes the tail.
    fn finish(&mut self) -> Kept {
        let mark = if self.dropped > 0 {
            format!("\n[… {} bytes left out …]\n", self.dropped).into_bytes()
        } else {
            Vec::new()
        };
        let (mut failed, (front, back)) = (false, self.tail.as_slices());
        for part in [&mark, front, back] {
            match fault::write_all(&self.file, &self.path, part) {
                Ok(()) => self.written += part.len() as u64,
                Err(_) => {
                    self.dropped += self.tail.len() as u64;
                    failed = true;
                    break;
                }
            }
        }
        self.tail = VecDeque::new();
        Kept { bytes: self.file.metadata().map_or(self.written, |m| m.len()), dropped: self.dropped, failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::secret::Secret;
    use cratekube_common::redact::Login;
    use proptest::prelude::*;

    fn write(cap: u64, chunks: &[Vec<u8>]) -> (Vec<u8>, Kept) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let mut log = OutputLog::new(File::create(&path).unwrap(), path.clone(), cap);
        for chunk in chunks {
            log.append(chunk);
        }
        let kept = log.finish();
        (std::fs::read(path).unwrap(), kept)
    }

    #[test]
    fn hostile_row_71_head_and_tail_of_a_flood_are_kept_and_the_middle_is_counted() {
        let chunks: Vec<Vec<u8>> = (0u8..100).map(|n| vec![n; 10]).collect();
        let (file, kept) = write(100, &chunks);
        assert_eq!(&file[..50], &chunks[..5].concat()[..]);
        assert_eq!(&file[file.len() - 50..], &chunks[95..].concat()[..]);
        assert_eq!(kept.dropped, 900);
        assert!(String::from_utf8_lossy(&file).contains("[… 900 bytes left out …]"));
        assert_eq!(kept.bytes, file.len() as u64);
    }

    #[test]
    fn hostile_row_57_a_full_disk_never_stops_the_reader() {
        let Ok(full) = File::options().write(true).open("/dev/full") else { return };
        let mut log = OutputLog::new(full, "/dev/full".into(), 1 << 30);
        for _ in 0..100 {
            log.append(&[b'x'; 65_536]);
        }
        assert_eq!(log.finish().dropped, 100 * 65_536);
    }

    #[test]
    fn hostile_row_72_what_reaches_the_disk_has_no_secret_and_is_as_long_as_what_came() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let mut log = OutputLog::new(File::create(&path).unwrap(), path.clone(), 1 << 20);
        let login = Login { user: Some("u".into()), password: Secret::new("hunter2-canary") };
        log.know(&KnownSecrets::of(&[login]).unwrap());
        let text = b"pull with hunter2-canary and AKIAABCDEFGHIJKLMNOP\nhunter2-";
        for byte in text.chunks(1) {
            log.append(byte);
            assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("hunter"));
        }
        assert_eq!(log.finish().bytes, text.len() as u64);
        let expected = "pull with ************** and AKIA****************\n********";
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn nothing_is_doubled_or_lost_unseen(cap in 2u64..400, chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20)) {
            let all = chunks.concat();
            let (file, kept) = write(cap, &chunks);
            if all.len() as u64 <= cap {
                prop_assert_eq!(&file, &all);
            }
            let tail = usize::try_from(TAIL.min(cap / 2)).unwrap();
            if kept.dropped > 0 {
                prop_assert!(file.ends_with(&all[all.len() - tail..]));
                prop_assert!(file.starts_with(&all[..usize::try_from(cap).unwrap() - tail]));
                prop_assert_eq!(kept.dropped, all.len() as u64 - cap);
            }
        }
    }
}
