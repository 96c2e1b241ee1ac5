//! `[cloud]`: whether and how the agent looks for what clusters leave in AWS.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Section, duration, or, path};

/// Before looking again: interfaces of load balancers take minutes to go.
const CONFIRM_PAUSE: Duration = Duration::from_secs(5 * 60);
/// How long things that are in use are tried again: three times what AWS takes at its slowest.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Whether and how the agent looks for what clusters leave in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSection {
    /// Whether it looks at all. Not by default: an agent deletes in an account only when someone said that
    /// it is to.
    pub enabled: bool,
    /// The region; the bastion's own when not set.
    pub region: Option<String>,
    /// One address in place of AWS's own, for a private endpoint or a stand-in.
    pub endpoint: Option<String>,
    /// A file with keys in the form that every tool for AWS reads (`[default]`, `aws_access_key_id`, …); the
    /// role of the bastion's instance when not set.
    pub credentials: Option<PathBuf>,
    /// Where the instance's metadata are, when not at the usual address.
    pub metadata: Option<String>,
    /// A price table in place of the one that comes with the agent.
    pub prices: Option<PathBuf>,
    /// Pause before looking again.
    pub confirm_pause: Duration,
    /// How long things that are in use are tried again.
    pub patience: Duration,
}

impl Default for CloudSection {
    fn default() -> Self {
        Self {
            enabled: false,
            region: None,
            endpoint: None,
            credentials: None,
            metadata: None,
            prices: None,
            confirm_pause: CONFIRM_PAUSE,
            patience: PATIENCE,
        }
    }
}

impl CloudSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let text = |f: &super::Field<'_>| f.string().map(|text| Some(text.to_owned()));
        let enabled = or(&section.field("enabled"), false, super::Field::boolean);
        let region = or(&section.field("region"), None, text);
        let address = or(&section.field("endpoint"), None, endpoint);
        let credentials = or(&section.field("credentials"), None, |f| path(f).map(Some));
        let metadata = or(&section.field("metadata"), None, endpoint);
        let prices = or(&section.field("prices"), None, |f| path(f).map(Some));
        let confirm_pause = or(&section.field("confirm_pause"), CONFIRM_PAUSE, duration);
        let patience = or(&section.field("patience"), PATIENCE, duration);
        Some(Self {
            enabled: enabled?,
            region: region?,
            endpoint: address?,
            credentials: credentials?,
            metadata: metadata?,
            prices: prices?,
            confirm_pause: confirm_pause?,
            patience: patience?,
        })
    }
}

fn endpoint(field: &super::Field<'_>) -> Option<Option<String>> {
    let text = field.string()?;
    if text.starts_with("https://") || text.starts_with("http://") {
        return Some(Some(text.to_owned()));
    }
    field.error(format!("must begin with `https://` or `http://`, found {text:?}"));
    None
}
