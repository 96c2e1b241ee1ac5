//! `cratekube alarm`.

use clap::{Args, Subcommand, ValueEnum};

use super::{Because, Most};

/// What can be done with alarms.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum AlarmCommand {
    /// List alarms, newest first, with what to do
    #[command(after_help = "\
Examples:
  cratekube alarm list --state open
  cratekube alarm list -o json")]
    List(List),
    /// Say that an alarm was seen to; it rings anew when it happens again
    #[command(
        visible_alias = "ack",
        after_help = "\
Example:
  cratekube alarm acknowledge 7 --reason 'the bastion was cloned; the copy is gone'"
    )]
    Acknowledge(Acknowledge),
}

/// List alarms.
#[derive(Debug, Args)]
pub(in crate::client) struct List {
    /// Only those
    #[arg(long, value_enum)]
    pub(in crate::client) state: Option<AlarmState>,
    #[command(flatten)]
    pub(in crate::client) most: Most,
}

/// Whether anybody has seen to an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::client) enum AlarmState {
    /// Nobody has seen to it
    Open,
    /// Somebody has
    Acknowledged,
}

impl AlarmState {
    /// As the API takes it.
    pub(in crate::client) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// Say that an alarm was seen to.
#[derive(Debug, Args)]
pub(in crate::client) struct Acknowledge {
    /// Its number, as `alarm list` shows it
    pub(in crate::client) number: u64,
    #[command(flatten)]
    pub(in crate::client) because: Because,
}
