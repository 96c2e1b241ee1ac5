//! Plays the whole house: real controller, real agents, real sockets, a rehearsal of `rke`.
//!
//! - [`mod@bench`]: figures, each beside the limit of the machine in the same run.
//! - [`cluster_api`]: the Kubernetes API that clusters of a rehearsal answer with.
//! - [`exposition`]: what programs show to Prometheus, read strictly.
//! - [`fuzz`]: what strangers send, changed at random.
//! - [`house`]: the harness. A test is a sentence about a [`house::World`].
//! - [`quickstart`]: controller, agent and a first cluster on this machine, in one command.
//! - [`rehearsal`]: what stands in for `rke`.
//! - [`sim`]: controller and agents in one process, with simulated time, network and machines.

pub mod bench;
pub mod cluster_api;
pub mod exposition;
pub mod fuzz;
pub mod house;
pub mod quickstart;
pub mod rehearsal;
pub mod sim;
