//! Statements of the controller that anyone can verify later: JWS over JSON, by the key that signs tokens.
//!
//! A statement is never a token: it has a `typ` of its own, and no issuer, audience or end, without which
//! [`Tokens::verify`] accepts nothing.

use std::sync::PoisonError;

use jsonwebtoken::{Algorithm, Header};
use serde_json::Value;

use super::jwt::{IssueFault, Tokens};

impl Tokens {
    /// Signs a statement: a compact JWS (EdDSA, with `kid`) over its JSON without blanks, with the members of
    /// every object in the order of their names.
    ///
    /// # Errors
    /// When there is no key, or it does not sign.
    pub fn sign(&self, kind: &str, statement: &Value) -> Result<String, IssueFault> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (kid, key) = keys.signing.as_ref().ok_or(IssueFault::NoKey)?;
        let header = Header { typ: Some(kind.to_owned()), kid: Some(kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, statement, key).map_err(|_| IssueFault::Signing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{SigningKey, TokenFault};
    use cratekube_common::domain::time::Timestamp;
    use cratekube_common::runtime::clock::ManualClock;
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn a_statement_verifies_with_the_public_key_says_what_was_signed_and_is_no_token() {
        let key = SigningKey::generate().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_795_000_000_000));
        let tokens = Tokens::new(std::slice::from_ref(&key), "iss", "aud", Duration::from_secs(60), clock);
        let statement = json!({"b": [1, 2], "a": "x"});
        let signed = tokens.sign("residue+jws", &statement).unwrap();
        let mut parts = signed.split('.');
        let read = |part: Option<&str>| data_encoding::BASE64URL_NOPAD.decode(part.unwrap().as_bytes()).unwrap();
        let header: Value = serde_json::from_slice(&read(parts.next())).unwrap();
        assert_eq!(header, json!({"alg": "EdDSA", "typ": "residue+jws", "kid": key.kid}));
        assert_eq!(read(parts.next()), br#"{"a":"x","b":[1,2]}"#);
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let public = DecodingKey::from_ed_der(key.public());
        assert_eq!(jsonwebtoken::decode::<Value>(&signed, &public, &validation).unwrap().claims, statement);
        let other = SigningKey::generate().unwrap();
        let public = DecodingKey::from_ed_der(other.public());
        assert!(jsonwebtoken::decode::<Value>(&signed, &public, &validation).is_err());
        assert!(matches!(tokens.verify(&signed), Err(TokenFault::Missing(_))), "{:?}", tokens.verify(&signed));
    }
}
