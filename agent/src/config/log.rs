//! `[log]`: what is logged, and how.

use cratekube_common::runtime::telemetry::{LogFormat, check_filter};

use super::{Section, or};

/// For people: most agents are looked at by hand, through the journal.
const FORMAT: LogFormat = LogFormat::Text;
/// What an operator wants to see on an ordinary day.
const FILTER: &str = "info";

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSection {
    /// What a line looks like.
    pub format: LogFormat,
    /// Which lines there are, such as `info` or `info,cratekube_agent::link=debug`.
    pub filter: String,
}

impl LogSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let format = or(&section.field("format"), FORMAT, super::Field::parse);
        let filter = or(&section.field("filter"), FILTER.to_owned(), |f| {
            let text = f.string()?;
            f.check(check_filter(text).map(|()| text.to_owned()))
        });
        Some(Self { format: format?, filter: filter? })
    }
}
