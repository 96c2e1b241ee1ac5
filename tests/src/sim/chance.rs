//! Chance that repeats itself: one number, the seed, decides everything.
//!
//! Every part of the world draws from a stream of its own, so that one more draw in one part does not
//! change what happens in all others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use cratekube_common::runtime::mint::Randomness;

/// A stream of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The stream of one part of a world.
    #[must_use]
    pub fn of(seed: u64, part: &str) -> Self {
        let mixed = part.bytes().fold(seed ^ 0x6a09_e667_f3bc_c909, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(17)
        });
        let mut chance = Self { state: mixed };
        chance.draw();
        chance
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % bound).unwrap_or(0)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A time between two, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_millis()).unwrap_or(u64::MAX).max(1);
        least + Duration::from_millis(self.draw() % span)
    }

    /// One of several things.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// The same as a source for [`Mint`](cratekube_common::runtime::mint::Mint).
#[derive(Debug)]
pub struct Dice(Mutex<Chance>);

impl Dice {
    /// Draws from a stream.
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        Self(Mutex::new(chance))
    }
}

impl Randomness for Dice {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Unspecified> {
        let mut chance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in buffer.chunks_mut(8) {
            let bytes = chance.draw().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        Ok(())
    }
}
