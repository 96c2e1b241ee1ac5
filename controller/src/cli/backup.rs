//! `backup` and `restore`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use cratekube_common::runtime::clock;
use cratekube_common::runtime::mint::Mint;

use super::local_audit;
use crate::app::open_data;
use crate::backup;
use crate::config::Config;
use crate::datadir::Opening;
use crate::keys::master::MasterKeySource;

#[derive(Debug, Args)]
pub(super) struct MakeBackup {
    /// Where the backup goes; a file that is not there yet
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct RestoreBackup {
    /// The backup
    file: PathBuf,
}

/// Runs `backup`.
pub(super) async fn make(config: &Config, args: &MakeBackup) -> anyhow::Result<()> {
    let clock = clock::system();
    let mint = Mint::system(clock.clone());
    let data = open_data(config, Opening::Command, &clock, &mint)?;
    let entry = local_audit("controller.backup", args.file.display().to_string(), String::new(), &mint);
    let made = backup::make(data, &args.file, entry, &clock).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}: {} bytes, as of {}", args.file.display(), made.bytes, made.made_at)?;
    writeln!(
        out,
        "  the database, {} outputs, {} entries of the audit log, the sealed keys",
        made.outputs, made.audit_entries
    )?;
    writeln!(out, "What a restore needs beside it, kept elsewhere:")?;
    writeln!(out, "  the master key: {}", key_source(config))?;
    writeln!(out, "  the configuration{}", certificate(config))?;
    Ok(())
}

/// Runs `restore`.
pub(super) async fn restore(config: &Config, args: &RestoreBackup) -> anyhow::Result<()> {
    let clock = clock::system();
    let mint = Mint::system(clock.clone());
    let longest = config.auth.max_token_lifetime;
    let restored = backup::restore(&config.data, &args.file, longest, &clock, &mint).await?;
    let mut out = std::io::stdout().lock();
    let directory = config.data.directory.display();
    writeln!(out, "restored into {directory}, as of {}: {} clusters", restored.made_at, restored.store.clusters)?;
    if restored.store.unknown > 0 {
        writeln!(
            out,
            "  {} runs were at work then; their clusters stay locked until a volume tells how they ended",
            restored.store.unknown
        )?;
    }
    writeln!(
        out,
        "  {} volumes are looked through when their agents connect; nothing is done on one before that",
        restored.store.volumes
    )?;
    writeln!(out, "  every token and every unused join token of before counts no more")?;
    writeln!(out, "What was revoked after {} is not known: revoke those API keys and agents again.", restored.made_at)?;
    writeln!(out, "Start the controller, wait until its agents have connected, then look at `GET /v1/admin/orphans`.")?;
    Ok(())
}

fn key_source(config: &Config) -> String {
    match &config.data.master_key {
        MasterKeySource::Given(_) => "as it is given in the environment (CRATEKUBE_DATA__MASTER_KEY)".into(),
        MasterKeySource::File(path) => path.display().to_string(),
        MasterKeySource::Command(command) => format!("what `{}` prints", command.join(" ")),
        MasterKeySource::Local => local_key(&config.data.directory),
    }
}

fn local_key(directory: &Path) -> String {
    format!("{} (put it there again before you restore)", directory.join(crate::keys::master::LOCAL_FILE).display())
}

fn certificate(config: &Config) -> String {
    config.rest.certificate.as_ref().map_or(String::new(), |(certificate, key)| {
        format!(", and the listener's certificate and key: {}, {}", certificate.display(), key.display())
    })
}
