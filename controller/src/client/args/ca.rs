//! `cratekube ca`.

use clap::{Args, Subcommand};

use super::Because;

/// What can be done with the CA.
#[derive(Debug, Subcommand)]
pub(in crate::client) enum CaCommand {
    /// Show the CA, how far its rotation is, and which agents have not taken the new one over
    #[command(after_help = "Example:\n  cratekube ca show")]
    Show,
    /// Trust what the controller is to be trusted under now: keep its `ca.pem` in the profile
    ///
    /// For everybody who uses a controller whose CA is being rotated, before it switches. It is fetched over
    /// a connection that is trusted already.
    #[command(after_help = "Example:\n  cratekube ca trust")]
    Trust,
    /// Begin a rotation: make a new CA and have it trusted beside the old one
    ///
    /// Agents that are connected take it over by themselves, and no run notices. Nothing else changes until
    /// you switch.
    #[command(after_help = "Example:\n  cratekube ca rotate --reason 'as every year'")]
    Rotate(Step),
    /// Have the listeners show certificates of the new CA
    ///
    /// Let everybody trust it first (`cratekube ca trust`). Refused while agents have not taken it over.
    #[command(after_help = "Example:\n  cratekube ca switch --reason 'everybody trusts it'")]
    Switch(StepOver),
    /// Go back to the CA from before the rotation
    #[command(after_help = "Example:\n  cratekube ca roll-back --reason 'a proxy does not trust it'")]
    RollBack(Step),
    /// End a rotation: the CA that does not stay is trusted no more, and its key is gone
    ///
    /// It cannot be undone. Refused while agents have not taken the one that stays over.
    #[command(after_help = "\
Examples:
  cratekube ca finish --reason 'as every year'
  cratekube ca finish --leave-behind --reason 'bastion-7 is scrapped'")]
    Finish(StepOver),
}

/// Take a step.
#[derive(Debug, Args)]
pub(in crate::client) struct Step {
    #[command(flatten)]
    pub(in crate::client) because: Because,
}

/// Take a step that agents may be left behind by.
#[derive(Debug, Args)]
pub(in crate::client) struct StepOver {
    #[command(flatten)]
    pub(in crate::client) because: Because,
    /// Take it although agents have not taken the CA over; those that are behind at the end are revoked, and
    /// must be enrolled again
    #[arg(long)]
    pub(in crate::client) leave_behind: bool,
}
