//! What RKE's files and output look like. Pure: bytes and values in, values out.
//!
//! Into `rke`:
//! - [`render`]: a cluster spec as `cluster.yml`, hardened by `harden`, on the emitter of [`yaml`].
//! - [`catalogue`]: which releases of it there are, what they offer and until when.
//! - [`logins`]: which secrets were given with it.
//!
//! Out of `rke`:
//! - [`lines`]: its output, cut into lines and levels in bounded memory.
//! - [`phases`]: how far it is.
//! - [`evidence`]: what its output says that matters for the verdict, collected while streaming.
//! - [`state`]: what is in `cluster.rkestate`, and whether it is whole.
//! - [`cause`]: the line that shows why a run failed, as a class with a remedy.
//! - [`classify`]: whether a run did what was asked, from exit, evidence and state together; `overdue`
//!   says what a time limit ended.
//!
//! The agent feeds output through [`lines::LineReader`] to [`phases::PhaseTracker`] and
//! [`evidence::Evidence`], inspects the state file, and asks [`classify::judge`].
//!
//! Not here: starting `rke`, reading files; masking secrets, which is [`crate::redact`].

pub mod catalogue;
pub mod cause;
pub mod classify;
pub mod evidence;
mod harden;
mod hosts;
pub mod lines;
pub mod logins;
pub(crate) mod overdue;
pub mod phases;
pub mod render;
pub mod state;
pub mod yaml;

#[cfg(test)]
mod tests_captures;
#[cfg(test)]
mod tests_lines;
#[cfg(test)]
mod tests_render;
#[cfg(test)]
mod tests_round_trip;
#[cfg(test)]
mod tests_state;
#[cfg(test)]
mod tests_verdict;
