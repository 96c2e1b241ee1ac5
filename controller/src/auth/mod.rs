//! Who is asking: bearer tokens, made and checked.
//!
//! Not here: what a subject may do on a route (`rest::caller`), nor where keys are kept (`pki`).

mod cache;
pub mod jwt;
mod key;

pub use jwt::{Claims, IssueFault, TokenFault, Tokens};
pub use key::{KeyFault, SigningKey};
