//! Sweeping AWS, against a stand-in that is a real API over HTTP: exactly what is proven to belong to the
//! cluster goes, on good days and bad ones, whoever is killed when.
//!
//! Where the stand-in (moto's server) is not installed these tests are skipped and say so; CI has it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests are tests, too"
)]
#![allow(unreachable_pub, reason = "a test crate has no outside")]

mod bad_days;
mod crashes;
mod good_days;
mod keys;
mod support;
mod thousand;
