//! The redactor, in any chunking.
#![no_main]

cratekube_fuzz::target!("redactor");
