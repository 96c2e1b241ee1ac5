//! Who may be an agent: enrolment, certificates that last for hours, and being locked out. Against the
//! real listeners, with the agent's own code and with hostile clients.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "every room of it is a test")]

#[path = "identity/enrolling.rs"]
mod enrolling;
#[path = "identity/handshakes.rs"]
mod handshakes;
#[path = "identity/messages.rs"]
mod messages;
#[path = "identity/renewing.rs"]
mod renewing;
#[path = "identity/rotating.rs"]
mod rotating;
#[path = "identity/stories.rs"]
mod stories;
