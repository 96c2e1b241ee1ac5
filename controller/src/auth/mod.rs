//! Who is asking: bearer tokens, made and checked.
//!
//! Not here: what a subject may do on a route (`rest::caller`), nor where keys and
//! revocations are kept (`keys::signing`, `store`).

mod cache;
pub mod jwt;
mod key;
mod revocations;
mod ring;
mod statement;

pub use jwt::{Claims, Holder, IssueFault, TokenFault, Tokens};
pub use key::{KeyFault, SigningKey};
pub use revocations::Revocations;
pub use ring::{KeyRing, RingKey, RotateFault};
