//! JSON as it is taken in.
#![no_main]

cratekube_fuzz::target!("json");
