//! What a program shows of itself to Prometheus, as OpenMetrics text.
//!
//! Two kinds of values are shown on one page: what is counted where it happens ([`Registry`], kept for
//! as long as the program runs), and what is asked for when somebody looks ([`Page`], made for one
//! answer). Names, units and labels follow Prometheus' conventions: base units, `_total` for what only
//! grows, and labels whose values come from closed sets, never from names that users choose.

pub mod process;

use std::fmt;
use std::sync::atomic::AtomicU64;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use prometheus_client::registry::Registry;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::info::Info;

/// The type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Names of labels with their values.
pub type Labels = Vec<(&'static str, String)>;

/// A value with a fraction.
type FloatGauge = Gauge<f64, AtomicU64>;

/// Makes labels.
#[must_use]
pub fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// A histogram for each set of labels.
pub type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// Upper bounds in seconds for what is done at once: requests, commits.
pub const SHORT: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Upper bounds in seconds for what takes its time: runs, operations, waits.
pub const LONG: [f64; 10] = [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_200.0, 2_400.0, 7_200.0, 28_800.0];

/// A histogram of short durations.
#[must_use]
pub fn short() -> Histogram {
    Histogram::new(SHORT)
}

/// A histogram of long durations.
#[must_use]
pub fn long() -> Histogram {
    Histogram::new(LONG)
}

/// Milliseconds since the epoch, or of a duration, in seconds: Prometheus' base unit.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "times of our century fit")]
pub fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

/// Values that were asked for just now.
#[derive(Debug)]
pub struct Page {
    registry: Registry,
}

impl Page {
    /// An empty page; every name on it begins with `prefix` and `_`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { registry: Registry::with_prefix(prefix) }
    }

    /// A value that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = FloatGauge::default();
        gauge.set(value);
        self.registry.register(name, help, gauge);
    }

    /// The same, only when there is one.
    pub fn gauge_if(&mut self, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    /// Values that go up and down.
    pub fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, FloatGauge>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }

    /// A value that only grows; `_total` is added to its name.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.registry.register(name, help, counter);
    }

    /// Values that only grow; `_total` is added to their name.
    pub fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    /// What never changes while the program runs; `_info` is added to the name.
    pub fn info(&mut self, name: &str, help: &str, labels: Labels) {
        self.registry.register(name, help, Info::new(labels));
    }
}

/// The whole text: what is counted, and what was asked for.
///
/// # Errors
/// When a metric cannot be written.
pub fn text(counted: &Registry, pages: &[Page]) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(16 * 1024);
    encode_registry(&mut text, counted)?;
    for page in pages {
        encode_registry(&mut text, &page.registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_of_labels_stay_within_their_quotes() {
        let mut page = Page::new("x");
        let hostile = "a\"} 1\nevil_total 9\\\u{1b}";
        page.gauges("g", "Help", [(labels([("name", hostile)]), 1.5)]);
        page.counter("c", "Help", 3);
        let text = text(&Registry::default(), &[page]).unwrap();
        assert!(text.contains("x_g{name=\"a\\\"} 1\\nevil_total 9\\\\\u{1b}\"} 1.5"), "{text}");
        assert!(text.contains("x_c_total 3\n") && text.ends_with("# EOF\n"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("evil")), "{text}");
    }

    #[test]
    fn durations_are_shown_in_seconds() {
        let all = Histograms::new_with_constructor(short);
        all.get_or_create(&labels([("verb", "post")])).observe(0.02);
        let mut registry = Registry::with_prefix("x");
        registry.register("wait_seconds", "Time until an answer", all);
        let text = text(&registry, &[]).unwrap();
        assert!(text.contains("x_wait_seconds_bucket{le=\"0.025\",verb=\"post\"} 1\n"), "{text}");
        assert!(text.contains("x_wait_seconds_count{verb=\"post\"} 1\n"), "{text}");
        assert!((seconds(1_500) - 1.5).abs() < f64::EPSILON);
    }
}
