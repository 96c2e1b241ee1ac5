//! `[auth]`: tokens of users.

use std::time::Duration;

use cratekube_common::intake::Field;

/// One working session; CrateKube's own standard (`jwt_authc`) asks for five minutes.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// So that nobody has to rotate more than once a quarter, and what leaks is worth nothing for long.
const DEFAULT_KEY_LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// A year: a key that nobody renewed by then is a key that nobody remembers.
const DEFAULT_LONGEST_KEY: Duration = Duration::from_secs(365 * 24 * 3600);
const LONGEST_KEY: Duration = Duration::from_secs(5 * 365 * 24 * 3600);
/// Who tokens are for.
const DEFAULT_AUDIENCE: &str = "cratekube";

/// The `[auth]` section.
#[derive(Debug, Clone)]
pub struct Auth {
    /// `max_token_lifetime`: longer tokens are neither made nor accepted.
    pub max_token_lifetime: Duration,
    /// `max_api_key_lifetime`: API keys of users end after this time at the latest.
    pub max_api_key_lifetime: Duration,
    /// `audience`: what `aud` of a token must say.
    pub audience: String,
}

impl Auth {
    /// How long an API key lives when nothing else is asked for.
    #[must_use]
    pub fn default_api_key_lifetime(&self) -> Duration {
        DEFAULT_KEY_LIFETIME.min(self.max_api_key_lifetime)
    }

    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let mut section = Self {
            max_token_lifetime: DEFAULT_LIFETIME,
            max_api_key_lifetime: DEFAULT_LONGEST_KEY,
            audience: DEFAULT_AUDIENCE.into(),
        };
        let Some(mut o) = at.object() else { return section };
        let least = Duration::from_secs(60);
        let lifetime = o.field("max_token_lifetime");
        section.max_token_lifetime = super::duration(&lifetime, DEFAULT_LIFETIME, least, LONGEST_LIFETIME);
        let of_keys = o.field("max_api_key_lifetime");
        section.max_api_key_lifetime = super::duration(&of_keys, DEFAULT_LONGEST_KEY, least, LONGEST_KEY);
        let audience = o.field("audience");
        if let Some(text) = audience.string() {
            if text.is_empty() || text.len() > 255 {
                audience.error("must have 1 to 255 characters");
            }
            section.audience = text.to_owned();
        }
        o.finish();
        section
    }
}
