//! Certificate signing requests.
#![no_main]

cratekube_fuzz::target!("csr");
