//! What the operating system knows of this process, under the names that every Prometheus client uses.

use std::fs;
use std::path::Path;

use super::{Page, Registry};

/// Ticks of the processor's time in a second, on every Linux that there is.
const TICKS: f64 = 100.0;

/// What is known of a process; what cannot be read is left out.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Memory that is in use, in bytes.
    pub resident_bytes: Option<u64>,
    /// Files and sockets that are open.
    pub open_files: Option<u64>,
    /// How many may be.
    pub max_files: Option<u64>,
    /// Time on the processor, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
}

/// Looks at this process.
#[must_use]
pub fn usage() -> Usage {
    usage_in(Path::new("/proc/self"))
}

fn usage_in(proc: &Path) -> Usage {
    let read = |name: &str| fs::read_to_string(proc.join(name)).unwrap_or_default();
    let (status, limits, stat) = (read("status"), read("limits"), read("stat"));
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    let max = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
    Usage {
        resident_bytes: field("VmRSS:").and_then(|text| text.parse::<u64>().ok()).map(|kib| kib * 1_024),
        threads: field("Threads:").and_then(|text| text.parse().ok()),
        open_files: fs::read_dir(proc.join("fd")).ok().map(|entries| entries.count() as u64),
        max_files: max.and_then(|text| text.parse().ok()),
        cpu_seconds: cpu(&stat),
    }
}

/// User and system time; the fields are counted from behind the name, which may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// The page about this process.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "sizes of a process fit")]
pub fn page(usage: &Usage) -> Page {
    let mut page = Page { registry: Registry::with_prefix("process") };
    let number = |value: Option<u64>| value.map(|value| value as f64);
    page.gauge_if("resident_memory_bytes", "Memory in use", number(usage.resident_bytes));
    page.gauge_if("open_fds", "Files and sockets that are open", number(usage.open_files));
    page.gauge_if("max_fds", "Files and sockets that may be open", number(usage.max_files));
    page.gauge_if("threads", "Threads", number(usage.threads));
    if let Some(seconds) = usage.cpu_seconds {
        let counter = super::Counter::<f64, std::sync::atomic::AtomicU64>::default();
        counter.inc_by(seconds);
        page.registry.register("cpu_seconds", "Time on the processor", counter);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn this_process_is_known() {
        let usage = usage();
        assert!(usage.resident_bytes.is_some_and(|bytes| bytes > 100_000), "{usage:?}");
        assert!(usage.open_files.is_some_and(|files| files >= 3) && usage.threads.is_some(), "{usage:?}");
        let text = text(&Registry::default(), &[page(&usage)]).unwrap();
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds_total "] {
            assert!(text.contains(name), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let nothing = usage_in(Path::new("/nonexistent"));
        assert_eq!(nothing, Usage::default());
        assert_eq!(text(&Registry::default(), &[page(&nothing)]).unwrap(), "# EOF\n");
        assert_eq!(cpu("1 (a) b)) S 1 1 1 0 -1 0 0 0 0 0 250 50 0 0"), Some(3.0));
    }
}
