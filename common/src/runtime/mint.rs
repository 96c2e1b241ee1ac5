//! The one source of chance: identifiers and random text.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

use super::clock::Clock;
use crate::domain::api_key::{ApiKeyText, HANDLE_CHARACTERS, SECRET_CHARACTERS};

/// Where random bytes come from.
pub trait Randomness: Send + Sync {
    /// Fills a buffer.
    ///
    /// # Errors
    /// When there are none.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Unspecified>;
}

/// The operating system's randomness.
struct System(SystemRandom);

impl Randomness for System {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Unspecified> {
        self.0.fill(buffer)
    }
}

/// Makes things that did not exist before.
#[derive(Clone)]
pub struct Mint {
    clock: Clock,
    random: Arc<dyn Randomness>,
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint")
    }
}

/// Characters of tokens: base 62, as CrateKube's standard for tokens asks.
pub const TOKEN_ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Mint {
    /// A mint that draws on the system's randomness.
    #[must_use]
    pub fn system(clock: Clock) -> Self {
        Self::drawing_on(Arc::new(System(SystemRandom::new())), clock)
    }

    /// A mint that draws on a source of the caller's: a simulation repeats itself with it.
    #[must_use]
    pub fn drawing_on(random: Arc<dyn Randomness>, clock: Clock) -> Self {
        Self { clock, random }
    }

    /// Fills a buffer with random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness: nothing safe can be done then.
    #[allow(clippy::expect_used)]
    pub fn fill(&self, buffer: &mut [u8]) {
        self.random.fill(buffer).expect("the operating system has no randomness");
    }

    /// A number between 0 and 1, never 1 itself, for jitter.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exactly what a double holds")]
    pub fn chance(&self) -> f64 {
        let mut buffer = [0u8; 8];
        self.fill(&mut buffer);
        (u64::from_le_bytes(buffer) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A new identifier; UUID version 7, so that identifiers sort by time of creation.
    #[must_use]
    pub fn id<T: From<Uuid>>(&self) -> T {
        let mut random = [0u8; 10];
        self.fill(&mut random);
        let ms = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        T::from(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
    }

    /// A new API key.
    #[must_use]
    pub fn api_key(&self) -> ApiKeyText {
        ApiKeyText::of_random(&self.token(HANDLE_CHARACTERS + SECRET_CHARACTERS))
    }

    /// Random text of [`TOKEN_ALPHABET`]; 43 characters carry 256 bits.
    #[must_use]
    pub fn token(&self, characters: usize) -> String {
        let mut text = String::with_capacity(characters);
        let mut buffer = [0u8; 64];
        while text.len() < characters {
            self.fill(&mut buffer);
            // Bytes from 248 up would favour the first characters; they are thrown away.
            let usable = buffer.iter().filter(|b| **b < 248).map(|b| TOKEN_ALPHABET[usize::from(b % 62)] as char);
            text.extend(usable.take(characters - text.len()));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::OperationId;
    use crate::runtime::clock;

    #[test]
    fn identifiers_and_tokens_do_not_repeat() {
        let mint = Mint::system(clock::system());
        let ids: std::collections::BTreeSet<OperationId> = (0..1000).map(|_| mint.id()).collect();
        assert_eq!(ids.len(), 1000);
        let token = mint.token(43);
        assert_eq!(token.len(), 43);
        assert!(token.bytes().all(|b| TOKEN_ALPHABET.contains(&b)));
        assert_ne!(token, mint.token(43));
        let key = mint.api_key();
        assert_eq!(key.expose().parse(), Ok(key.clone()));
        assert_ne!(key, mint.api_key());
        assert!((0..1000).map(|_| mint.chance()).all(|chance| (0.0..1.0).contains(&chance)));
    }
}
