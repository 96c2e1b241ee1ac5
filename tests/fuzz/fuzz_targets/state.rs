#![no_main]

cratekube_fuzz::target!("state");
