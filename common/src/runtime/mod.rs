//! Process furniture shared by controller and agent.
//!
//! Time and chance come in here and nowhere else: [`clock::Clock`] and [`mint::Mint`].

pub mod backoff;
pub mod blocking;
pub mod clock;
pub mod fault;
pub mod files;
pub mod lifecycle;
pub mod mint;
pub mod notify;
pub mod pinned;
pub mod settings;
pub mod telemetry;
pub mod tls;
