//! What agents say on the wire.
#![no_main]

cratekube_fuzz::target!("agent");
