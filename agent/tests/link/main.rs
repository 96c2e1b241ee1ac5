//! The agent's connection half against a scripted controller: real TLS, real HTTP/2, real files.
//!
//! Time is paused where a story needs it to pass; nothing sleeps for real.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests, too")]
#![allow(unreachable_pub, reason = "a test crate has no outside")]

mod enroll;
mod identity_files;
mod output;
mod process;
mod questions;
mod renew;
mod session;
mod support;
