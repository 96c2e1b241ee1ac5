//! `[kubernetes]`: how the agent talks to the clusters' APIs once `rke` has built them.

use std::time::Duration;

use cratekube_common::intake::Field;
use serde::{Deserialize, Serialize};

use super::{Section, duration, or};

/// Longest wait for one answer: five times what a slow API takes, shorter than a proxy's own patience.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a new cluster's API and nodes: images are pulled meanwhile.
const READY_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How the clusters' APIs are reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesSection {
    /// Proxy that is asked to `CONNECT`, as `http://host:port`; directly when not set.
    pub proxy: Option<String>,
    /// Longest wait for one answer.
    pub request_timeout: Duration,
    /// Longest wait for a new or changed cluster's API and nodes.
    pub ready_timeout: Duration,
}

impl Default for KubernetesSection {
    fn default() -> Self {
        Self { proxy: None, request_timeout: REQUEST_TIMEOUT, ready_timeout: READY_TIMEOUT }
    }
}

impl KubernetesSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        let proxy = or(&section.field("proxy"), None, |f| proxy(f).map(Some));
        let request = or(&section.field("request_timeout"), REQUEST_TIMEOUT, patience);
        let ready = or(&section.field("ready_timeout"), READY_TIMEOUT, patience);
        Some(Self { proxy: proxy?, request_timeout: request?, ready_timeout: ready? })
    }
}

fn proxy(field: &Field<'_>) -> Option<String> {
    let text = field.string()?;
    let uri = text.parse::<http::Uri>().ok();
    let usable = uri.filter(|uri| {
        let bare = uri.path() == "/" && uri.query().is_none() && !text.contains('@');
        uri.scheme_str() == Some("http") && uri.port().is_some() && bare
    });
    if usable.is_none() {
        field.error("must be a proxy as `http://host:port`, without user, password or path");
    }
    usable.map(|_| text.trim_end_matches('/').to_owned())
}

fn patience(field: &Field<'_>) -> Option<Duration> {
    let patience = duration(field)?;
    if patience < Duration::from_secs(1) {
        field.error("must be a second or more");
        return None;
    }
    Some(patience)
}
