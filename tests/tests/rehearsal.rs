//! The rehearsal of rke is believed only as far as it equals the recordings of the real one.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do; clippy only exempts the test functions themselves"
)]

#[path = "rehearsal/world.rs"]
mod world;

#[path = "rehearsal/faults.rs"]
mod faults;
#[path = "rehearsal/files.rs"]
mod files;
#[path = "rehearsal/recordings.rs"]
mod recordings;
