//! The ground everything stands on.
//!
//! - [`domain`]: the words of `design.md` as types, with their life-cycles. Pure: no I/O, no clock,
//!   no wire, no SQL.
//! - [`rke`]: what RKE's files and output look like, and how `cluster.yml` is rendered. Pure.
//! - [`runtime`]: process furniture shared by controller and agent (clock, backoff, settings,
//!   telemetry, TLS, lifecycle).
//! - [`metrics`]: what programs show of themselves to Prometheus.
//! - [`redact`]: masking secrets in output. Pure.
//! - [`intake`]: reading untrusted JSON or TOML so that every fault is found at once.
//! - [`step`]: what a step of our own says of itself, and how it is judged. Pure.
//! - [`visible`]: making text from outside harmless to look at. Pure.
//! - [`yaml`]: reading YAML of unknown origin. Pure.

pub mod domain;
pub mod intake;
pub mod metrics;
pub mod redact;
pub mod rke;
pub mod runtime;
pub mod step;
pub mod visible;
pub mod yaml;
