//! Join tokens.
#![no_main]

cratekube_fuzz::target!("join-token");
