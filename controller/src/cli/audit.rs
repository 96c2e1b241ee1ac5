//! Checking the audit log, beside a running controller or without one.

use std::io::Write;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;

use super::{Beside, local_audit};
use crate::anchor::Anchor;
use crate::config::Config;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Follow the chain of the audit log and compare it with its anchor; fails when anything was
    /// changed, taken out or cut off, and names the first entry that is wrong
    Verify,
    /// Anchor the audit log as it is now, after what was wrong with it is known
    Anchor(SetAnchor),
}

#[derive(Debug, Args)]
pub(super) struct SetAnchor {
    /// Why; becomes an entry of the log
    #[arg(long)]
    reason: String,
}

/// Runs `audit …`.
pub(super) async fn run(config: &Config, command: &AuditCommand) -> anyhow::Result<()> {
    let Beside { clock, mint, data, store } = Beside::open(config)?;
    let anchor = Anchor::new(&data.path, data.envelope);
    let mut out = std::io::stdout();
    match command {
        AuditCommand::Verify => {
            // The anchor first: what a running controller appends meanwhile lies beyond it.
            let anchored = anchor.read()?;
            let end = store.follow_audit(anchored.clone()).await?;
            let number = |link: Option<&crate::store::AuditLink>| link.map_or(0, |link| link.number);
            writeln!(out, "{} entries, none changed, none missing", number(end.as_ref()))?;
            if let Some(end) = &end {
                writeln!(out, "newest hash {}", HEXLOWER.encode(&end.hash))?;
            }
            anyhow::ensure!(
                anchored.is_some() || end.is_none(),
                "there is no anchor, so entries that were cut off at the end would not show; a running controller sets one within seconds"
            );
            writeln!(out, "anchored at entry {}", number(anchored.as_ref()))?;
        }
        AuditCommand::Anchor(args) => {
            anyhow::ensure!(!args.reason.trim().is_empty(), "--reason must say why");
            let entry = local_audit("audit.anchor", "audit".to_owned(), args.reason.clone(), &mint);
            store.audit(entry, clock.now()).await?;
            let newest = store.audit_link(None).await?.context("the audit log is empty")?;
            anchor.set(&newest, clock.now())?;
            writeln!(out, "anchored at entry {}", newest.number)?;
        }
    }
    store.close().await;
    Ok(())
}
