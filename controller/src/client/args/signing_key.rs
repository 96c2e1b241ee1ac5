//! `cratekube signing-key`.

use clap::{Args, Subcommand};

use super::Because;

/// What can be done with the keys that sign tokens.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum SigningKeyCommand {
    /// List the keys that tokens are checked with
    #[command(after_help = "Example:\n  cratekube signing-key list")]
    List,
    /// Sign new tokens with a new key
    ///
    /// The key before verifies for as long as its tokens live, so that nobody notices. With `--at-once`
    /// every token that was made before ends, your own too: for a key that was stolen.
    #[command(after_help = "\
Examples:
  cratekube signing-key rotate --reason 'as every month'
  cratekube signing-key rotate --at-once --reason 'a backup was lost'")]
    Rotate(Rotate),
}

/// Sign new tokens with a new key.
#[derive(Debug, Args)]
pub(in crate::client) struct Rotate {
    #[command(flatten)]
    pub(in crate::client) because: Because,
    /// End every token that was made before
    #[arg(long)]
    pub(in crate::client) at_once: bool,
}
