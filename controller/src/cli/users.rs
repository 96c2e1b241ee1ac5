//! API keys and signing keys: for the first user, and for the day on which a key was stolen.

use std::io::Write;
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, Subcommand};
use cratekube_common::domain::environment::Grant;
use cratekube_common::runtime::settings::parse_duration;

use super::{Beside, local_audit, parse_grant};
use crate::config::Config;
use crate::keys::signing;
use crate::service::users::WantedKey;
use crate::store::Store;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeyCommand {
    /// Make an API key and print it, once
    #[command(
        after_help = "Example:\n  cratekube-controller api-key create --name first --subject alice --grant 'admin:*'"
    )]
    Create(CreateApiKey),
}

#[derive(Debug, Args)]
pub(super) struct CreateApiKey {
    /// What it is called in lists
    #[arg(long)]
    name: String,
    /// Whom its tokens stand for; appears in the audit log
    #[arg(long)]
    subject: String,
    /// ROLE:ENVIRONMENTS, e.g. `operator:prod`, `viewer:team-*`, `admin:*`; may be repeated
    #[arg(long = "grant", required = true, value_parser = parse_grant)]
    grants: Vec<Grant>,
    /// How long it is valid, e.g. `30d`; 90 days when not given, auth.max_api_key_lifetime at most
    #[arg(long, value_parser = parse_duration)]
    lifetime: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(super) enum SigningKeyCommand {
    /// Sign new tokens with a new key; a running controller takes it over within 5 seconds
    Rotate(Rotate),
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// End every token that was made before, too: for a key that was stolen
    #[arg(long)]
    at_once: bool,
}

/// Runs `api-key …`.
pub(super) async fn api_key(config: &Config, ApiKeyCommand::Create(args): ApiKeyCommand) -> anyhow::Result<()> {
    let longest = config.auth.max_api_key_lifetime;
    let lifetime = args.lifetime.unwrap_or_else(|| config.auth.default_api_key_lifetime());
    ensure!(!lifetime.is_zero() && lifetime <= longest, "--lifetime must be at most {longest:?}");
    let beside = Beside::open(config)?;
    let wanted = WantedKey { name: args.name, subject: args.subject, grants: args.grants, lifetime };
    wanted.check().map_err(anyhow::Error::msg)?;
    let detail = wanted.described();
    let (text, new) = wanted.make(&beside.mint, beside.clock.now(), "local");
    let detail = format!("{detail}, until {}", new.key.expires_at);
    let audit = local_audit("api-key.create", new.key.id.to_string(), detail, &beside.mint);
    beside.store.keep_api_key(new, audit).await?;
    beside.store.close().await;
    writeln!(std::io::stdout(), "{}", text.expose())?;
    Ok(())
}

/// Runs `signing-key …`.
pub(super) async fn signing_key(
    config: &Config,
    SigningKeyCommand::Rotate(args): &SigningKeyCommand,
) -> anyhow::Result<()> {
    let Beside { clock, mint, data, store } = Beside::open(config)?;
    let longest = config.auth.max_token_lifetime;
    let ring = signing::rotate(&data.path, &data.envelope, clock.now(), longest, args.at_once)?;
    let kids: Vec<_> = ring.keys().iter().map(|kept| kept.key.kid.as_str()).collect();
    let how = if args.at_once { "at once" } else { "with the key before it for as long as its tokens live" };
    store.audit(local_audit("signing-key.rotate", kids[0].to_owned(), how.to_owned(), &mint), clock.now()).await?;
    store.close().await;
    let mut out = std::io::stdout();
    writeln!(out, "{} signs from now on", kids[0])?;
    match ring.keys().get(1).and_then(|kept| Some((&kept.key.kid, kept.ends_at?))) {
        Some((kid, ends_at)) => writeln!(out, "{kid} verifies until {ends_at}")?,
        None => writeln!(out, "tokens that were made before count no more")?,
    }
    Ok(())
}
