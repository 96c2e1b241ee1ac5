//! Sealed secrets.
#![no_main]

cratekube_fuzz::target!("envelope");
