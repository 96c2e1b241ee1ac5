//! What can be made to go wrong, and the books on how often it has.
//!
//! A fault has matchers (command, cluster), a kind, and optionally a number of times. The count
//! lives in the fleet directory and is changed under its lock, so that a fault that fires once
//! fires once even if two processes race for it. Within one run a fault fires at most once.
//! What a fault *does* is in `stage` and in the phases; this module only decides whether.

use serde::{Deserialize, Serialize};

use super::fleet::Fleet;

/// One fault, as written in the settings.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Fires for this command only: `up`, `remove`, `cert rotate`, `etcd snapshot-save`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Fires for this `cluster_name` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Fires so many times, over all processes; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What goes wrong.
    pub kind: Kind,
}

impl Fault {
    /// A fault that fires whenever it can.
    #[must_use]
    pub fn new(kind: Kind) -> Fault {
        Fault { command: None, cluster: None, times: None, kind }
    }

    /// Restricts the fault to one command.
    #[must_use]
    pub fn on(mut self, command: &str) -> Fault {
        self.command = Some(command.to_owned());
        self
    }

    /// Restricts the fault to one `cluster_name`.
    #[must_use]
    pub fn for_cluster(mut self, name: &str) -> Fault {
        self.cluster = Some(name.to_owned());
        self
    }

    /// Lets the fault fire `times` times in all.
    #[must_use]
    pub fn times(mut self, times: u32) -> Fault {
        self.times = Some(times);
        self
    }
}

/// A place in the output.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub enum After {
    /// After so many lines of output (the REHEARSAL line is the first).
    Line(u64),
    /// After the first line that contains this.
    Text(String),
}

impl From<&str> for After {
    fn from(text: &str) -> After {
        After::Text(text.to_owned())
    }
}

impl From<u64> for After {
    fn from(line: u64) -> After {
        After::Line(line)
    }
}

/// One of the two writes of the state file.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum StateWrite {
    /// The first one, after the certificates.
    Desired,
    /// The second one, after the control plane and before the workers.
    Current,
}

/// The signal with which a crash kills.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum KillSignal {
    /// SIGKILL.
    #[default]
    #[serde(rename = "KILL")]
    Kill,
    /// SIGTERM.
    #[serde(rename = "TERM")]
    Term,
}

/// What goes wrong.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// The rest of a recorded failure is replayed, hosts substituted, with its exit code.
    Fail {
        /// Name of the recording, such as `02l-up-bad-k8s-version`.
        scenario: String,
        /// Where to switch over; by default at the deepest milestone both runs share.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
    },
    /// Silence, in real time.
    Hang {
        /// Where.
        after: After,
        /// How long; for ever when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
    },
    /// Held at a FIFO until a test closes the other end.
    Hold {
        /// Where.
        after: After,
        /// The FIFO.
        fifo: std::path::PathBuf,
    },
    /// The process kills itself.
    Crash {
        /// Where.
        after: After,
        /// How.
        #[serde(default)]
        signal: KillSignal,
    },
    /// The process ends with this code, by default after its first line.
    ExitCode {
        /// The code.
        code: u8,
        /// Where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
    },
    /// The state write stops after `bytes` bytes and the process is killed.
    TornState {
        /// Which write.
        write: StateWrite,
        /// How much of it is written.
        bytes: usize,
    },
    /// The state file is truncated and nothing is written.
    EmptyState {
        /// Which write.
        write: StateWrite,
        /// Go on to a cheerful end instead of being killed.
        #[serde(default)]
        goes_on: bool,
    },
    /// The state write hits a full disk: a truncated file is left behind, exit 1.
    DiskFull {
        /// Which write.
        write: StateWrite,
    },
    /// A lot of output at once, before going on.
    Flood {
        /// How much.
        bytes: u64,
        /// Length of a line; 0 for no newline at all.
        line_length: u64,
        /// Bytes that are not UTF-8.
        #[serde(default)]
        invalid_utf8: bool,
        /// At most so much per second; as fast as possible when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_second: Option<u64>,
        /// Where; by default after the first line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
    },
    /// The user add-on job does not finish in time: a warning, exit 0.
    AddonTimeout,
    /// The user add-on is rejected: a warning, exit 0.
    AddonBad,
    /// A new CA is minted although nobody asked.
    ChangeCa,
    /// `remove` leaves this host out, as if it could not be reached.
    SkipHost {
        /// The host.
        address: String,
    },
    /// Text as it is, plus a newline.
    ExtraLine {
        /// The text.
        text: String,
        /// Where; by default after the first line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
    },
    /// A background process stays behind in the process group and holds standard output open.
    ForkChild {
        /// How long it lives.
        #[serde(default = "five_minutes")]
        seconds: u32,
        /// Where; by default after the first line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<After>,
    },
    /// Writes the start time (nanoseconds of `CLOCK_REALTIME`) to a file; `cluster` is ignored.
    StartMarker {
        /// The file.
        path: std::path::PathBuf,
    },
    /// Writes the process id to a file; `cluster` is ignored.
    PidFile {
        /// The file.
        path: std::path::PathBuf,
    },
}

fn five_minutes() -> u32 {
    300
}

impl Kind {
    /// The place in the output that sets this fault off, if it is that sort of fault.
    fn trigger(&self) -> Option<After> {
        match self {
            Kind::Hang { after, .. } | Kind::Hold { after, .. } | Kind::Crash { after, .. } => Some(after.clone()),
            Kind::Fail { after, .. } => after.clone(),
            Kind::ExitCode { after, .. }
            | Kind::Flood { after, .. }
            | Kind::ExtraLine { after, .. }
            | Kind::ForkChild { after, .. } => Some(after.clone().unwrap_or(After::Line(1))),
            _ => None,
        }
    }
}

/// The faults that this run may meet.
#[derive(Debug)]
pub(crate) struct Armed {
    faults: Vec<(String, Fault, Option<After>)>,
}

impl Armed {
    /// Those faults of the settings that match this run.
    pub(crate) fn new(all: &[Fault], command: &str, cluster: Option<&str>) -> Armed {
        let faults = all
            .iter()
            .enumerate()
            .filter(|(_, fault)| {
                fault.command.as_deref().is_none_or(|c| c == command)
                    && fault.cluster.as_deref().is_none_or(|c| Some(c) == cluster)
            })
            .map(|(index, fault)| (key(index, fault), fault.clone(), fault.kind.trigger()))
            .collect();
        Armed { faults }
    }

    /// Gives `fail` faults without a place of their own the one that `choose` finds.
    pub(crate) fn place_failures(&mut self, choose: impl Fn(&str) -> After) {
        for (_, fault, trigger) in &mut self.faults {
            if let (Kind::Fail { scenario, .. }, None) = (&fault.kind, &trigger) {
                *trigger = Some(choose(scenario));
            }
        }
    }

    /// Fires the faults that stand at this line.
    pub(crate) fn at_line(&mut self, fleet: &Fleet, number: u64, message: &str) -> Vec<Kind> {
        self.fire(fleet, |_, trigger| match trigger {
            Some(After::Line(line)) => *line == number,
            Some(After::Text(text)) => message.contains(text.as_str()),
            None => false,
        })
    }

    /// Fires the first fault without a place that `wanted` picks.
    pub(crate) fn take(&mut self, fleet: &Fleet, wanted: impl Fn(&Kind) -> bool) -> Option<Kind> {
        self.fire(fleet, |kind, trigger| trigger.is_none() && wanted(kind)).into_iter().next()
    }

    fn fire(&mut self, fleet: &Fleet, hit: impl Fn(&Kind, Option<&After>) -> bool) -> Vec<Kind> {
        let mut fired = Vec::new();
        self.faults.retain(|(key, fault, trigger)| {
            if !hit(&fault.kind, trigger.as_ref()) {
                return true;
            }
            if fault.times.is_none_or(|times| fleet.count_fault(key, times)) {
                fired.push(fault.kind.clone());
            }
            false
        });
        fired
    }
}

/// Identifies a fault over several processes: its place and its content.
fn key(index: usize, fault: &Fault) -> String {
    let content = serde_json::to_vec(fault).unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &content);
    let hex = data_encoding::HEXLOWER.encode(digest.as_ref());
    format!("{index}-{}", &hex[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_fires_once_fires_once_over_all_runs() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::open(dir.path());
        let faults = [Fault::new(Kind::ChangeCa).on("up").times(1)];
        let take = || Armed::new(&faults, "up", Some("demo")).take(&fleet, |k| *k == Kind::ChangeCa);
        assert_eq!(take(), Some(Kind::ChangeCa));
        assert_eq!(take(), None);
    }

    #[test]
    fn matchers_restrict() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = Fleet::open(dir.path());
        let faults = [Fault::new(Kind::ChangeCa).on("up").for_cluster("a")];
        let take = |command, cluster| Armed::new(&faults, command, Some(cluster)).take(&fleet, |_| true);
        assert_eq!(take("remove", "a"), None);
        assert_eq!(take("up", "b"), None);
        assert_eq!(take("up", "a"), Some(Kind::ChangeCa));
    }

    #[test]
    fn unknown_fields_are_refused() {
        let text = r#"{"kind": {"hang": {"after": 3, "secunds": 1}}}"#;
        assert!(serde_json::from_str::<Fault>(text).is_err());
        let text = r#"{"times": 2, "kind": "addon_timeout"}"#;
        assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), Fault::new(Kind::AddonTimeout).times(2));
    }
}
