//! RKE's state files.
#![no_main]

cratekube_fuzz::target!("state");
