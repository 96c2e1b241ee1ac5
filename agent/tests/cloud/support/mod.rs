//! What the stories of this crate are played with.

pub mod metadata;
pub mod moto;
pub mod proxy;
pub mod step;
pub mod wire;
pub mod world;
