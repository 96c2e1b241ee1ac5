//! Follows the output of a run: says how much there is, how far the run is, and what it said that
//! matters for the verdict.
//!
//! The file is the truth; after a restart it is read again from its beginning. Reading is done in
//! bounded slices away from the runtime, and never line by line into memory. How much there is is
//! known before it is understood, so that streaming does not wait for reading.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::Duration;

use cratekube_common::domain::progress::Progress;
use cratekube_common::runtime::blocking::Blocking;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::port::OutputLength;
use crate::provisioner::Reader;

/// One read.
const BUFFER: usize = 64 * 1024;
/// Most that is read before others have their turn.
const SLICE: u64 = 4 << 20;
/// How often a growing file is looked at.
const QUICK: Duration = Duration::from_millis(50);
/// How often a silent one is.
const SLOW: Duration = Duration::from_millis(200);

/// Reads one run's output.
#[derive(Debug)]
pub struct Follower {
    reading: Reading,
    length: watch::Sender<OutputLength>,
    blocking: Blocking,
}

#[derive(Debug)]
struct Reading {
    path: PathBuf,
    file: Option<File>,
    offset: u64,
    length: u64,
    reader: Box<dyn Reader>,
    progress: Option<Progress>,
}

/// What was read.
#[derive(Debug)]
pub struct Followed {
    /// What it said.
    pub evidence: Box<dyn Reader>,
    /// How much there is.
    pub bytes: u64,
}

impl Follower {
    /// Follows a file that may not be there yet.
    #[must_use]
    pub fn new(
        path: PathBuf,
        reader: Box<dyn Reader>,
        length: watch::Sender<OutputLength>,
        blocking: Blocking,
    ) -> Self {
        let reading = Reading { path, file: None, offset: 0, length: 0, reader, progress: None };
        Self { reading, length, blocking }
    }

    /// Follows to the end: until nothing is left to read after `ended`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn follow(
        mut self,
        ended: CancellationToken,
        mut on_progress: impl FnMut(Progress),
    ) -> io::Result<Followed> {
        let mut pause = QUICK;
        loop {
            // Asked before reading: what was written before the end is then certainly seen.
            let last = ended.is_cancelled();
            let before = self.reading.offset;
            self.reading = slice(self.reading, self.blocking).await?;
            let bytes = self.reading.length;
            self.length.send_if_modified(|l| std::mem::replace(&mut l.bytes, bytes) != bytes);
            if let Some(progress) = self.reading.progress.take() {
                on_progress(progress);
            }
            if self.reading.offset < self.reading.length {
                continue;
            }
            if last {
                return Ok(self.finish());
            }
            pause = if self.reading.offset > before { QUICK } else { (pause * 2).min(SLOW) };
            tokio::select! {
                biased;
                () = ended.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn finish(self) -> Followed {
        let Reading { reader: mut evidence, offset, .. } = self.reading;
        evidence.finish();
        self.length.send_replace(OutputLength { bytes: offset, complete: true });
        Followed { evidence, bytes: offset }
    }
}

async fn slice(mut reading: Reading, blocking: Blocking) -> io::Result<Reading> {
    blocking.run(move || reading.slice().map(|()| reading)).await?
}

impl Reading {
    fn slice(&mut self) -> io::Result<()> {
        let Some(mut file) = self.open()? else { return Ok(()) };
        self.length = file.metadata()?.len();
        let end = self.length.min(self.offset.saturating_add(SLICE));
        let mut buffer = vec![0u8; if self.offset < end { BUFFER } else { 0 }];
        while self.offset < end {
            let room = usize::try_from(end - self.offset).unwrap_or(BUFFER).min(BUFFER);
            match file.read(&mut buffer[..room]) {
                // Shorter than it was: nobody but the supervisor writes here. Take it as the end.
                Ok(0) => self.length = self.offset,
                Ok(read) => self.take(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.length == self.offset {
                break;
            }
        }
        self.file = Some(file);
        Ok(())
    }

    fn open(&mut self) -> io::Result<Option<File>> {
        match self.file.take() {
            Some(file) => Ok(Some(file)),
            None => match File::open(&self.path) {
                Ok(file) => Ok(Some(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        if let Some(reached) = self.reader.feed(bytes) {
            self.progress = Some(reached);
        }
        self.offset += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provisioner::Provisioner;
    use crate::provisioner::rke::RkeProvisioner;
    use cratekube_common::domain::task::TaskKind;
    use std::io::Write;

    const CAPTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures/B01-up-single-node/stdout");

    fn reader() -> Box<dyn Reader> {
        RkeProvisioner.parse_progress(TaskKind::Provision)
    }

    async fn read(content: &[u8]) -> (Followed, OutputLength, Vec<Progress>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        std::fs::write(&path, content).unwrap();
        let (length, watch) = watch::channel(OutputLength::default());
        let ended = CancellationToken::new();
        ended.cancel();
        let mut seen = Vec::new();
        let followed =
            Follower::new(path, reader(), length, Blocking::Threads).follow(ended, |p| seen.push(p)).await.unwrap();
        let length = *watch.borrow();
        (followed, length, seen)
    }

    #[tokio::test]
    async fn a_recorded_run_gives_its_evidence_its_length_and_its_last_phase() {
        let content = std::fs::read(CAPTURE).unwrap();
        let (followed, length, seen) = read(&content).await;
        assert!(followed.evidence.has_finished());
        assert_eq!(length, OutputLength { bytes: content.len() as u64, complete: true });
        let last = seen.last().unwrap();
        assert_eq!(last.step, last.steps);
    }

    #[tokio::test]
    async fn hostile_row_71_a_flood_without_newlines_and_without_utf8_is_only_counted() {
        let content = vec![0xffu8; 10 << 20];
        let (followed, length, _) = read(&content).await;
        assert_eq!((followed.bytes, length.bytes), (10 << 20, 10 << 20));
        assert!(!followed.evidence.has_finished());
    }

    #[tokio::test]
    async fn a_growing_file_is_followed_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("output.log");
        let (sender, mut watch) = watch::channel(OutputLength::default());
        let ended = CancellationToken::new();
        let follower = Follower::new(path.clone(), reader(), sender, Blocking::Threads);
        let following = tokio::spawn(follower.follow(ended.clone(), |_| {}));
        let mut file = File::create(&path).unwrap();
        let mut expected = 0;
        for line in [&b"one\n"[..], b"two\n", b"half a line"] {
            file.write_all(line).unwrap();
            expected += line.len() as u64;
            watch.wait_for(|l| l.bytes == expected && !l.complete).await.unwrap();
        }
        ended.cancel();
        let followed = following.await.unwrap().unwrap();
        assert_eq!(followed.bytes, expected);
    }
}
