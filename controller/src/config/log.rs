//! `[log]`: logs.

use cratekube_common::intake::Field;
use cratekube_common::runtime::telemetry::{self, LogFormat};

/// The `[log]` section.
#[derive(Debug, Clone)]
pub struct Log {
    /// `format`: `text` or `json`.
    pub format: LogFormat,
    /// `filter`: as in `RUST_LOG`.
    pub filter: String,
}

impl Log {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let mut section = Self { format: LogFormat::Text, filter: "info".into() };
        let Some(mut o) = at.object() else { return section };
        section.format = o.field("format").parse().unwrap_or(section.format);
        let filter = o.field("filter");
        if let Some(text) = filter.string()
            && filter.check(telemetry::check_filter(text)).is_some()
        {
            text.clone_into(&mut section.filter);
        }
        o.finish();
        section
    }
}
