//! What the controller says on the wire.
#![no_main]

cratekube_fuzz::target!("controller");
