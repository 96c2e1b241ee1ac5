//! The stage: every line of output and every wait passes through here, and here faults strike.
//!
//! A line waits its recorded time (times the scale), is printed, and may then set off a fault
//! that stands behind it. Work that rke does on several hosts at once is given as one script per
//! host and played merged by time. Phases end early with a `Stop`, never with a panic.

use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::captures;
use super::catalogue::Images;
use super::clock;
use super::console::{Console, Level};
use super::fault::{Armed, KillSignal, Kind};
use super::fleet::Fleet;

/// The reason why nothing more is done; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stop(pub(crate) u8);

/// How the shell tells death by SIGPIPE.
const BROKEN_PIPE: Stop = Stop(141);

/// One line of one host.
#[derive(Clone, Debug)]
struct Step {
    at_ms: u64,
    level: Level,
    message: String,
}

/// What happens on one host, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    steps: Vec<Step>,
    now_ms: u64,
}

impl Script {
    pub(crate) fn new() -> Script {
        Script::default()
    }

    /// A line, `after_ms` after the one before.
    pub(crate) fn say(&mut self, after_ms: u64, message: impl Into<String>) {
        self.line(after_ms, Level::Info, message);
    }

    pub(crate) fn line(&mut self, after_ms: u64, level: Level, message: impl Into<String>) {
        self.now_ms += after_ms;
        self.steps.push(Step { at_ms: self.now_ms, level, message: message.into() });
    }
}

/// Output, pace, hosts and faults of one run.
pub(crate) struct Stage {
    console: Console,
    scale: f64,
    lines: u64,
    faults: Armed,
    pub(crate) fleet: Fleet,
    /// Addresses of the hosts, to put in place of recorded ones.
    pub(crate) addresses: Vec<String>,
}

impl Stage {
    pub(crate) fn new(console: Console, scale: f64, fleet: Fleet, faults: Armed) -> Stage {
        Stage { console, scale, lines: 0, faults, fleet, addresses: Vec::new() }
    }

    pub(crate) fn say(&mut self, after_ms: u64, message: &str) -> Result<(), Stop> {
        self.line(after_ms, Level::Info, message)
    }

    pub(crate) fn warn(&mut self, after_ms: u64, message: &str) -> Result<(), Stop> {
        self.line(after_ms, Level::Warning, message)
    }

    /// The last line; hands back the reason to stop.
    pub(crate) fn fatal(&mut self, after_ms: u64, message: &str) -> Stop {
        match self.line(after_ms, Level::Fatal, message) {
            Ok(()) => Stop(1),
            Err(stop) => stop,
        }
    }

    pub(crate) fn line(&mut self, after_ms: u64, level: Level, message: &str) -> Result<(), Stop> {
        self.wait(after_ms);
        self.console.line(level, message).map_err(|_| BROKEN_PIPE)?;
        self.lines += 1;
        for kind in self.faults.at_line(&self.fleet, self.lines, message) {
            self.strike(kind, message)?;
        }
        Ok(())
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.console.raw(bytes).map_err(|_| BROKEN_PIPE)
    }

    /// Plays one host's script.
    pub(crate) fn play(&mut self, script: Script) -> Result<(), Stop> {
        self.parallel(vec![script])
    }

    /// Plays several hosts' scripts at once: merged by time, ties in the order given.
    pub(crate) fn parallel(&mut self, scripts: Vec<Script>) -> Result<(), Stop> {
        let mut steps: Vec<Step> = scripts.into_iter().flat_map(|s| s.steps).collect();
        steps.sort_by_key(|step| step.at_ms);
        let mut now_ms = 0;
        for step in steps {
            self.line(step.at_ms - now_ms, step.level, &step.message)?;
            now_ms = step.at_ms;
        }
        Ok(())
    }

    /// Recorded time, scaled.
    pub(crate) fn wait(&self, recorded_ms: u64) {
        let seconds = self.scale * recorded_ms as f64 / 1000.0;
        clock::pause(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    }

    /// A fault that has no place in the output.
    pub(crate) fn take_fault(&mut self, wanted: impl Fn(&Kind) -> bool) -> Option<Kind> {
        self.faults.take(&self.fleet, wanted)
    }

    /// Death without a word.
    pub(crate) fn die(&self) {
        kill(KillSignal::Kill);
    }

    /// A failure to keep the model of the hosts is a failure of the rehearsal itself.
    pub(crate) fn kept(&mut self, result: std::io::Result<()>) -> Result<(), Stop> {
        result.map_err(|error| {
            let message = format!("REHEARSAL: cannot write the fleet directory: {error}");
            self.fatal(0, &message)
        })
    }

    fn strike(&mut self, kind: Kind, message: &str) -> Result<(), Stop> {
        match kind {
            Kind::Hang { seconds: None, .. } => clock::pause_forever(),
            Kind::Hang { seconds: Some(seconds), .. } => {
                clock::pause(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            }
            Kind::Hold { fifo, .. } => hold(&fifo),
            Kind::Crash { signal, .. } => kill(signal),
            Kind::ExitCode { code, .. } => return Err(Stop(code)),
            Kind::Fail { scenario, .. } => return self.replay(&scenario, message),
            Kind::ExtraLine { text, .. } => self.raw(format!("{text}\n").as_bytes())?,
            Kind::ForkChild { seconds, .. } => leave_child(seconds),
            Kind::Flood { bytes, line_length, invalid_utf8, bytes_per_second, .. } => {
                self.flood(bytes, line_length, invalid_utf8, bytes_per_second)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The rest of a recording, from the line like `message` on.
    fn replay(&mut self, scenario: &str, message: &str) -> Result<(), Stop> {
        let Some(capture) = captures::find(scenario) else {
            let message = format!("REHEARSAL: no recorded failure is called {scenario}");
            return Err(self.fatal(0, &message));
        };
        for line in captures::tail(capture, message, &self.addresses) {
            match line {
                captures::Line::Event(level, text) => {
                    self.wait(20);
                    self.console.line(level, &text).map_err(|_| BROKEN_PIPE)?;
                }
                captures::Line::Raw(text) => self.raw(format!("{text}\n").as_bytes())?,
            }
        }
        Err(Stop(capture.exit))
    }

    fn flood(
        &mut self,
        bytes: u64,
        line_length: u64,
        invalid_utf8: bool,
        bytes_per_second: Option<u64>,
    ) -> Result<(), Stop> {
        const CHUNK: u64 = 65_536;
        let mut sent = 0;
        while sent < bytes {
            let size = CHUNK.min(bytes - sent);
            let chunk: Vec<u8> = (sent..sent + size).map(|at| flood_byte(at, line_length, invalid_utf8)).collect();
            self.raw(&chunk)?;
            sent += size;
            if let Some(rate) = bytes_per_second.filter(|rate| *rate > 0) {
                clock::pause(Duration::from_secs_f64(size as f64 / rate as f64));
            }
        }
        Ok(())
    }
}

fn flood_byte(at: u64, line_length: u64, invalid_utf8: bool) -> u8 {
    if line_length > 0 && at % line_length == line_length - 1 {
        b'\n'
    } else if invalid_utf8 && at % 7 == 3 {
        0xff
    } else {
        b'a' + (at % 26) as u8
    }
}

fn kill(signal: KillSignal) {
    let signal = match signal {
        KillSignal::Kill => Signal::KILL,
        KillSignal::Term => Signal::TERM,
    };
    if kill_process(getpid(), signal).is_ok() {
        clock::pause_forever();
    }
}

/// Leaves a process behind that keeps standard output open.
fn leave_child(seconds: u32) {
    let child = std::process::Command::new("sleep")
        .arg(seconds.to_string())
        .stdin(std::process::Stdio::null())
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .spawn();
    drop(child);
}

/// What a phase needs besides the stage.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) images: Images,
    pub(crate) ignore_docker_version: bool,
    pub(crate) disable_port_check: bool,
}

/// Held at a FIFO until whoever holds its other end lets it go; no clock is looked at.
fn hold(fifo: &std::path::Path) {
    use std::io::Read as _;
    // A FIFO that is gone holds nobody.
    if let Ok(mut gate) = std::fs::File::open(fifo) {
        let _let_go = gate.read(&mut [0]);
    }
}
