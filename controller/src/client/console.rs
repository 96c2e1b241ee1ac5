//! The two outputs. Results go to standard output; notes, progress and faults to standard error.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::ProgressBar;

use super::fault::Fault;

/// Where a command writes. Clones write to the same places.
#[derive(Clone)]
pub(super) struct Console {
    inner: Arc<Mutex<Inner>>,
    /// Whether results may be coloured.
    pub(super) colour: bool,
    /// Whether people look at the results.
    pub(super) out_is_terminal: bool,
    /// Whether progress may be drawn over.
    pub(super) live: bool,
}

struct Inner {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// What is drawn on standard error now; notes go above it.
    bar: Option<ProgressBar>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("colour", &self.colour).field("live", &self.live).finish_non_exhaustive()
    }
}

impl Console {
    /// The process's own.
    pub(super) fn system() -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let out_is_terminal = out.is_terminal();
        let live = err.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        // https://no-color.org: set and not empty means no colour.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(Box::new(out), Box::new(err), out_is_terminal, live, out_is_terminal && !no_colour)
    }

    pub(super) fn new(
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        out_is_terminal: bool,
        live: bool,
        colour: bool,
    ) -> Self {
        let inner = Arc::new(Mutex::new(Inner { out, err, bar: None }));
        Self { inner, colour, out_is_terminal, live }
    }

    /// Writes a result.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn print(&self, text: &str) -> Result<(), Fault> {
        self.print_bytes(text.as_bytes())
    }

    /// Writes a result, byte for byte.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn print_bytes(&self, bytes: &[u8]) -> Result<(), Fault> {
        let out = &mut self.lock().out;
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Fault::Closed,
            _ => Fault::local("write to standard output", error),
        })
    }

    /// Tells something that is not the result. That nobody reads it is no fault.
    pub(super) fn note(&self, text: &str) {
        let mut inner = self.lock();
        match inner.bar.clone() {
            Some(bar) => bar.suspend(|| {
                let _nobody_reads = writeln!(inner.err, "{text}");
            }),
            None => {
                let _nobody_reads = writeln!(inner.err, "{text}");
            }
        }
    }

    /// Tells why a command ended without its result.
    pub(super) fn fault(&self, fault: &Fault) {
        if !matches!(fault, Fault::Closed) {
            self.note(&report(&fault.lines()));
        }
    }

    /// What is drawn from now on, if anything.
    pub(super) fn draw(&self, bar: Option<ProgressBar>) {
        self.lock().bar = bar;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `error:` and a first line; the others indented below it.
pub(super) fn report(lines: &[String]) -> String {
    format!("error: {}", lines.join("\n  "))
}
