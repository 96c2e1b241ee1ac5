//! PEM files.
#![no_main]

cratekube_fuzz::target!("pem");
