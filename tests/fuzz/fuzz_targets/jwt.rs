//! Tokens of users.
#![no_main]

cratekube_fuzz::target!("jwt");
