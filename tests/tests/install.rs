//! A host becomes a bastion, is upgraded in the middle of a run, and is one no more: by the one line, and
//! by the packages, on a clean Debian with a systemd of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod install {
    pub(crate) mod bastion;
    mod one_line;
    mod packages;
    mod refusals;
    mod static_checks;
}
