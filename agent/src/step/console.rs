//! What a step says while it works.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use cratekube_common::step;

/// Where a step says what it does. Lines are for users: no secrets, and one thought each.
pub trait Console: Send + Sync {
    /// A phase begins: `step` of `steps`, from 1. It becomes the operation's progress.
    fn phase(&self, step: u32, steps: u32, name: &str);

    /// Something to read. Line breaks in it make several lines.
    fn line(&self, text: &str);
}

/// Says it on a stream, each line at once.
pub struct Printer<'a, W>(Mutex<&'a mut W>);

impl<'a, W: Write> Printer<'a, W> {
    /// On this stream.
    pub fn new(out: &'a mut W) -> Self {
        Self(Mutex::new(out))
    }

    /// A stream that is gone is no reason to stop: the outcome counts.
    fn say(&self, line: &str) {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _nobody_listens = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

impl<W: Write + Send> Console for Printer<'_, W> {
    fn phase(&self, step: u32, steps: u32, name: &str) {
        self.say(&step::announcement(step, steps, name));
    }

    fn line(&self, text: &str) {
        text.lines().for_each(|line| self.say(&step::plain(line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_announced_and_lines_cannot_pass_for_them() {
        let mut out = Vec::new();
        let printer = Printer::new(&mut out);
        printer.phase(1, 3, "looking");
        printer.line("one\n==> [3/3] two");
        assert_eq!(String::from_utf8(out).unwrap(), "==> [1/3] looking\none\n ==> [3/3] two\n");
    }
}
