//! `[auth]`: tokens of users.

use std::time::Duration;

use cratekube_common::intake::Field;

/// One working session; CrateKube's own standard (`jwt_authc`) asks for five minutes.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Who tokens are for.
const DEFAULT_AUDIENCE: &str = "cratekube";

/// The `[auth]` section.
#[derive(Debug, Clone)]
pub struct Auth {
    /// `max_token_lifetime`: longer tokens are neither made nor accepted.
    pub max_token_lifetime: Duration,
    /// `audience`: what `aud` of a token must say.
    pub audience: String,
}

impl Auth {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let mut section = Self { max_token_lifetime: DEFAULT_LIFETIME, audience: DEFAULT_AUDIENCE.into() };
        let Some(mut o) = at.object() else { return section };
        let least = Duration::from_secs(60);
        let lifetime = o.field("max_token_lifetime");
        section.max_token_lifetime = super::duration(&lifetime, DEFAULT_LIFETIME, least, LONGEST_LIFETIME);
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
