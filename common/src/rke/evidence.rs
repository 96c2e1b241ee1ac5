//! What the output of a run says that matters for the verdict, collected while it streams.
//!
//! Bounded whatever comes: so many hosts, so many letters of each. Only events count, never raw text,
//! so that a container's log that RKE quotes cannot pass for RKE's own word. An info line that
//! carries nothing costs a few comparisons and no allocation.
//!
//! Not here: what follows from it. That is in `cause` and `classify`.

use std::collections::{BTreeMap, BTreeSet};

use super::lines::{Level, Line};
use crate::domain::task::TaskKind;

/// Most hosts that are remembered of each sort; a spec has no more.
const MAX_HOSTS: usize = 1_000;
/// Longest host name that is believed.
const MAX_HOST: usize = 253;
/// Most letters that are kept of a line.
const MAX_TEXT: usize = 2_000;
/// Most failing add-ons that are remembered.
const MAX_ADDONS: usize = 64;

/// What was seen so far.
#[derive(Debug)]
pub struct Evidence {
    /// None where it is not `rke` that runs.
    end_mark: Option<&'static str>,
    /// Whether RKE said that it is done with what the task is.
    pub finished: bool,
    /// What ended the run: the last fatal event, or Go's own panic.
    pub fatal: Option<String>,
    /// The last error that did not end the run by itself.
    pub error: Option<String>,
    /// The last raw line, for commands that fail without an event.
    pub last_raw: Option<String>,
    /// Hosts that could not be connected, each with the whole line that says so.
    pub tunnels: BTreeMap<String, String>,
    /// Hosts that RKE went on without.
    pub skipped: BTreeSet<String>,
    /// Hosts that were cleaned.
    pub cleaned: BTreeSet<String>,
    /// Hosts on which the cleaner was about to be started: what they kept of the cluster may be gone.
    pub wiped: BTreeSet<String>,
    /// Hosts that left the cluster but could not be cleaned, each with the whole line.
    pub uncleaned: BTreeMap<String, String>,
    /// Whether RKE made a new CA: it took the cluster for a new one.
    pub new_ca: bool,
    /// A host answered with another CA's certificate, or refused ours: the line that says so.
    pub foreign_certificate: Option<String>,
    /// Add-ons that were not deployed, each with its line.
    pub addons: Vec<FailedAddon>,
    /// What a rehearsal of `rke` says of itself.
    pub rehearsal: Option<String>,
    /// True when something was seen that there was no room for.
    pub overflowed: bool,
}

/// An add-on that was not deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAddon {
    /// RKE's name of it.
    pub name: String,
    /// The line that says so.
    pub line: String,
}

impl Evidence {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(kind: TaskKind) -> Self {
        let end_mark = match kind {
            TaskKind::Provision | TaskKind::Reconfigure => Some("Finished building Kubernetes cluster successfully"),
            TaskKind::Remove => Some("Cluster removed successfully"),
            TaskKind::RecoverState => Some("Successfully Deployed state file at ["),
            // With a new CA pods are restarted after it, which may fail without a word.
            TaskKind::RotateCertificates => Some("[worker] Successfully restarted Worker Plane"),
            _ => None,
        };
        Self {
            end_mark,
            finished: false,
            fatal: None,
            error: None,
            last_raw: None,
            tunnels: BTreeMap::new(),
            skipped: BTreeSet::new(),
            cleaned: BTreeSet::new(),
            wiped: BTreeSet::new(),
            uncleaned: BTreeMap::new(),
            new_ca: false,
            foreign_certificate: None,
            addons: Vec::new(),
            rehearsal: None,
            overflowed: false,
        }
    }

    /// Looks at the next line.
    pub fn observe(&mut self, line: &Line<'_>) {
        if line.starts_with("REHEARSAL:") && self.rehearsal.is_none() {
            self.rehearsal = Some(cut(&line.message()));
        }
        match line.level {
            None => self.observe_raw(line),
            Some(Level::Trace | Level::Debug) => {}
            Some(Level::Info) => self.observe_info(line),
            Some(Level::Warning) => self.observe_warning(line),
            Some(Level::Error) => self.error = Some(cut(&line.message())),
            Some(Level::Fatal) => self.fatal = Some(cut(&line.message())),
        }
    }

    fn observe_info(&mut self, line: &Line<'_>) {
        if line.starts_with("[hosts] Successfully cleaned up host [") {
            if let Some(host) = bracketed(&line.message(), "host [") {
                self.overflowed |= !put(&mut self.cleaned, host);
            }
        } else if line.starts_with("Starting container [kube-cleaner] on host [") {
            // Not the line that says that it was started: it may be at its work before that is written.
            if let Some(host) = bracketed(&line.message(), "host [") {
                self.overflowed |= !put(&mut self.wiped, host);
            }
        } else if line.starts_with("[certificates] Generating CA kubernetes certificates") {
            self.new_ca = true;
        } else if self.end_mark.is_some_and(|mark| line.starts_with(mark)) {
            self.finished = true;
        }
    }

    fn observe_warning(&mut self, line: &Line<'_>) {
        if line.starts_with("Failed to set up SSH tunneling for host [") {
            let message = line.message();
            if let Some(host) = bracketed(&message, "host [") {
                self.overflowed |= !put_line(&mut self.tunnels, host, &message);
            }
        } else if line.starts_with("Removing host [") {
            if let Some(host) = bracketed(&line.message(), "host [") {
                self.overflowed |= !put(&mut self.skipped, host);
            }
        } else if line.starts_with("[reconcile] Couldn't clean up") {
            let message = line.message();
            if let Some(host) = bracketed(&message, "node [") {
                self.overflowed |= !put_line(&mut self.uncleaned, host, &message);
            }
        } else if line.starts_with("Failed to deploy ") {
            self.observe_addon(&line.message());
        } else if line.starts_with("[etcd] host [") && self.foreign_certificate.is_none() {
            let message = line.message();
            self.foreign_certificate = speaks_of_foreign_certificate(&message).then(|| cut(&message));
        }
    }

    /// `Failed to deploy addon execute job [name]: …`, `Failed to deploy DNS addon execute job for
    /// provider name: …`.
    fn observe_addon(&mut self, message: &str) {
        if self.addons.len() >= MAX_ADDONS {
            self.overflowed = true;
            return;
        }
        let name = match message.strip_prefix("Failed to deploy DNS addon execute job for provider ") {
            Some(rest) => rest.split(':').next(),
            None => bracketed(message, "job ["),
        };
        let name = name.unwrap_or("unknown").chars().take(MAX_HOST).collect();
        self.addons.push(FailedAddon { name, line: cut(message) });
    }

    fn observe_raw(&mut self, line: &Line<'_>) {
        if line.raw.trim_ascii().is_empty() {
            return;
        }
        if self.fatal.is_none() && (line.starts_with("panic: ") || line.starts_with("fatal error: ")) {
            self.fatal = Some(cut(&line.message()));
        }
        // The buffer is used again: raw lines may be many.
        let head = &line.raw[..line.raw.len().min(MAX_TEXT)];
        let last = self.last_raw.get_or_insert_default();
        last.clear();
        last.push_str(&String::from_utf8_lossy(head));
    }
}

/// Whether TLS failed because the two sides hold certificates of different CAs.
pub(super) fn speaks_of_foreign_certificate(message: &str) -> bool {
    message.contains("tls: bad certificate") || message.contains("certificate signed by unknown authority")
}

fn bracketed<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(before)?;
    rest.split_once(']').map(|(inside, _)| inside)
}

fn put(hosts: &mut BTreeSet<String>, host: &str) -> bool {
    if hosts.contains(host) {
        return true;
    }
    let room = hosts.len() < MAX_HOSTS && host.len() <= MAX_HOST;
    room && hosts.insert(host.to_owned())
}

/// Keeps the first line of each host: it is nearest to the cause.
fn put_line(hosts: &mut BTreeMap<String, String>, host: &str, line: &str) -> bool {
    if hosts.contains_key(host) {
        return true;
    }
    let room = hosts.len() < MAX_HOSTS && host.len() <= MAX_HOST;
    if room {
        hosts.insert(host.to_owned(), cut(line));
    }
    room
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
