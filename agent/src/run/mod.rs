//! One run: its journal on the volume, the supervisor that owns `rke`, and its output.
//!
//! - [`journal`]: what a run's directory says; everything a restart needs.
//! - [`machine`]: what a journal asks for next; pure.
//! - [`supervise`]: the process that owns `rke` and outlives the agent; `watch`: while `rke` runs.
//! - [`limits`]: how long a run may take, and what is due when; pure.
//! - [`log`]: the bounded output file it writes.
//! - [`strays`]: the end of everything that `rke` left behind.
//! - [`scope`]: a control group of its own for each supervisor, under systemd.
//! - [`host`]: what the engine asks of its host; a trait, for the simulation.
//! - [`process`]: the agent's hold on supervisor and `rke`.
//! - [`program`]: the executable, from the look at it to its start.
//! - [`output`]: follows the output, and makes progress and evidence of it.
//! - [`rke`]: which `rke` there is.

pub mod host;
pub mod journal;
pub mod limits;
pub mod log;
pub mod machine;
pub mod output;
pub mod process;
pub mod program;
pub mod rke;
pub mod scope;
pub mod strays;
pub mod supervise;
mod watch;
