//! `cratekube audit`.

use clap::{Args, Subcommand};

use super::Most;

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum AuditCommand {
    /// List entries, newest first
    #[command(after_help = "\
Examples:
  cratekube audit list --limit 20
  cratekube audit list --actor alice --since 2026-11-01T00:00:00Z --outcome refused")]
    List(List),
    /// Print all entries as JSON, one a line, newest first
    #[command(after_help = "Example:\n  cratekube audit export > audit.jsonl")]
    Export(Filter),
}

/// Which entries.
#[derive(Debug, Args)]
pub(in crate::client) struct Filter {
    /// By this actor only
    #[arg(long, value_name = "NAME")]
    pub(in crate::client) actor: Option<String>,
    /// This action only, such as `cluster.create`
    #[arg(long, value_name = "NAME")]
    pub(in crate::client) action: Option<String>,
    /// On this object only
    #[arg(long, value_name = "NAME")]
    pub(in crate::client) object: Option<String>,
    /// With this outcome only
    #[arg(long, value_name = "OUTCOME")]
    pub(in crate::client) outcome: Option<String>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(in crate::client) since: Option<String>,
    /// Before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub(in crate::client) until: Option<String>,
}

/// List entries.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    #[command(flatten)]
    pub(in crate::client) filter: Filter,
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

impl Filter {
    /// As the API takes it.
    pub(in crate::client) fn parameters(&self) -> [(&'static str, Option<&str>); 6] {
        [
            ("actor", self.actor.as_deref()),
            ("action", self.action.as_deref()),
            ("object", self.object.as_deref()),
            ("outcome", self.outcome.as_deref()),
            ("since", self.since.as_deref()),
            ("until", self.until.as_deref()),
        ]
    }
}
