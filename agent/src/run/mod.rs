//! One run: its journal on the volume, the supervisor that owns `rke`, and its output.
//!
//! - [`journal`]: what a run's directory says; everything a restart needs.
//! - [`machine`]: what a journal asks for next; pure.
//! - [`supervise`]: the process that owns `rke` and outlives the agent.
//! - [`log`]: the bounded output file it writes.
//! - [`host`]: what the engine asks of its host; a trait, for the simulation.
//! - [`process`]: the agent's hold on supervisor and `rke`.
//! - [`output`]: follows the output, and makes progress and evidence of it.
//! - [`rke`]: which `rke` there is.

pub mod host;
pub mod journal;
pub mod log;
pub mod machine;
pub mod output;
pub mod process;
pub mod rke;
pub mod supervise;
