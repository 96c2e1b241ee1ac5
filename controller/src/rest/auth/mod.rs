//! `/v1/auth`: from an API key to a token, who one is, and the end of a token.

pub(super) mod logout;
pub(super) mod token;
pub(super) mod whoami;

#[cfg(test)]
mod tests;
