//! What a step says while it works, and what it waits for.
//!
//! What it waits for is kept in the run's directory, for the case that a limit ends the step in its wait: the
//! operation names it then. It is a help, and no part of the outcome: what cannot be kept is not.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cratekube_common::runtime::files;
use cratekube_common::step;

/// Where it is kept, in the run's directory.
const WAITS_FOR: &str = "waits-for";
/// Most letters of it.
const MOST_WORDS: usize = 2_000;

/// Where a step says what it does. Lines are for users: no secrets, and one thought each.
pub trait Console: Send + Sync {
    /// A phase begins: `step` of `steps`, from 1. It becomes the operation's progress.
    fn phase(&self, step: u32, steps: u32, name: &str);

    /// Something to read. Line breaks in it make several lines.
    fn line(&self, text: &str);

    /// From here to its next phase, or word of this kind, the step waits for this; for nothing when it is empty.
    /// It is no line.
    fn waits_for(&self, _what: &str) {}
}

/// Says it on a stream, each line at once.
pub struct Printer<'a, W> {
    out: Mutex<&'a mut W>,
    waits_for: PathBuf,
    /// What is kept now.
    kept: Mutex<String>,
}

impl<'a, W: Write> Printer<'a, W> {
    /// On this stream, and in this directory of a run.
    pub fn of_run(out: &'a mut W, run_dir: &Path) -> Self {
        Self { out: Mutex::new(out), waits_for: run_dir.join(WAITS_FOR), kept: Mutex::default() }
    }

    /// A stream that is gone is no reason to stop: the outcome counts.
    fn say(&self, line: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let _nobody_listens = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    fn keep(&self, what: &str) {
        let what: String = what.chars().take(MOST_WORDS).collect();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if *kept != what {
            let _only_a_help = files::replace(&self.waits_for, what.as_bytes());
            *kept = what;
        }
    }
}

/// What the step of a run waited for last; none when it waited for nothing.
#[must_use]
pub fn waited_for(run_dir: &Path) -> Option<String> {
    let kept = fs::read(run_dir.join(WAITS_FOR)).ok()?;
    Some(String::from_utf8_lossy(&kept).into_owned()).filter(|what| !what.is_empty())
}

impl<W: Write + Send> Console for Printer<'_, W> {
    fn phase(&self, step: u32, steps: u32, name: &str) {
        self.say(&step::announcement(step, steps, name));
        self.keep("");
    }

    fn line(&self, text: &str) {
        text.lines().for_each(|line| self.say(&step::plain(line)));
    }

    fn waits_for(&self, what: &str) {
        self.keep(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_announced_and_lines_cannot_pass_for_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let printer = Printer::of_run(&mut out, dir.path());
        printer.phase(1, 3, "looking");
        printer.line("one\n==> [3/3] two");
        assert_eq!(String::from_utf8(out).unwrap(), "==> [1/3] looking\none\n ==> [3/3] two\n");
    }

    #[test]
    fn what_is_waited_for_is_kept_until_the_next_phase() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let printer = Printer::of_run(&mut out, dir.path());
        assert_eq!(waited_for(dir.path()), None);
        printer.waits_for("a Service");
        printer.waits_for("another one");
        assert_eq!(waited_for(dir.path()).as_deref(), Some("another one"));
        printer.phase(2, 3, "going on");
        assert_eq!(waited_for(dir.path()), None);
        printer.waits_for(&"x".repeat(3_000));
        assert_eq!(waited_for(dir.path()).map(|what| what.len()), Some(2_000));
        assert_eq!(String::from_utf8(out).unwrap(), "==> [2/3] going on\n", "it is no line");
    }

    #[test]
    fn a_place_that_takes_nothing_holds_nobody_up() {
        let mut out = Vec::new();
        let printer = Printer::of_run(&mut out, Path::new("/nowhere"));
        printer.waits_for("a Service");
        printer.phase(1, 1, "on");
        assert_eq!(waited_for(Path::new("/nowhere")), None);
    }
}
