//! Output is masked again before it is stored: an agent may be old, or not what it says.
//!
//! The same rules as the agent's, by the form of secrets alone; what the agent masked stays as it is. The
//! offsets stay the same, and so does what is acknowledged: every byte that is stored, also the last few
//! of which it is not decided whether they begin a secret. Those are stored as they came, are shown to
//! no reader until it is decided, and are masked in place when they turn out to be one. So a reader never
//! sees a byte change, and an agent never waits for a byte that the controller holds.
//!
//! What was seen of a run is known again after a restart by looking at the end of what is stored of it,
//! within bounds: a value that began further back is not taken for one. When a run is over, nothing follows
//! that could make a secret of its last bytes, and they are shown.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cratekube_common::domain::id::AttemptId;
use cratekube_common::redact::{self, Scanner};
use cratekube_common::runtime::fault::{self, Step};

/// So much is looked at again: more than the longest private key, and what may stand between its lines.
const LOOK_BACK: u64 = 64 * 1024;

/// The output of one run while it is stored.
#[derive(Debug)]
pub(super) struct Masking {
    attempt: AttemptId,
    /// Where it begins in the file.
    base: u64,
    scanner: Scanner,
}

impl Masking {
    /// Goes on with a run of which so many bytes are stored.
    pub(super) fn resume(file: &File, attempt: AttemptId, base: u64, stored: u64) -> io::Result<Self> {
        let begin = stored.saturating_sub(LOOK_BACK);
        let mut seen = vec![0; usize::try_from(stored - begin).unwrap_or(0)];
        file.read_exact_at(&mut seen, base + begin)?;
        let mut scanner = redact::scanner(begin);
        scanner.scan(&seen, &mut |_masked_when_it_was_stored| ());
        Ok(Self { attempt, base, scanner })
    }

    /// Whether it is this run's, and has seen exactly this much of it.
    pub(super) fn is_at(&self, attempt: AttemptId, stored: u64) -> bool {
        self.attempt == attempt && self.scanner.at() == stored
    }

    /// Writes what follows. When it fails, nothing more can be written with it.
    pub(super) fn write(&mut self, file: &File, path: &Path, data: &[u8]) -> io::Result<()> {
        let begin = self.scanner.at();
        let mut ranges: Vec<Range<u64>> = Vec::new();
        self.scanner.scan(data, &mut |range| ranges.push(range));
        let mut fresh = Cow::Borrowed(data);
        for range in ranges.iter().filter(|range| range.end > begin) {
            redact::mask(fresh.to_mut(), begin, range);
        }
        fault::step(Step::Write(&fresh), path)?;
        file.write_all_at(&fresh, self.base + begin)?;
        for range in ranges.iter().filter(|range| range.start < begin) {
            let length = usize::try_from(range.end.min(begin) - range.start).unwrap_or(0);
            file.write_all_at(&redact::masked(length), self.base + range.start)?;
        }
        Ok(())
    }

    /// Up to where in the file all is decided.
    pub(super) fn decided(&self) -> (AttemptId, u64) {
        (self.attempt, self.base + self.scanner.at() - self.scanner.held() as u64)
    }
}
