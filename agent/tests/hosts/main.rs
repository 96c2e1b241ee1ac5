//! Hosts over SSH, each with a real sshd on an address of its own: looked at before `rke` begins, and cleaned
//! after a cluster was removed.
//!
//! What a host would say is staged: its files are in a folder of the test, and commands that could look at
//! or change this machine are stand-ins. Where there is no sshd the tests say so and pass, except in CI.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod clean;
mod client;
mod preflight;
mod steps;
mod yard;
