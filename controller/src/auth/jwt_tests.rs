//! Tokens that must be refused, each with its reason.

use super::*;
use cratekube_common::domain::environment::Role;
use cratekube_common::runtime::clock::ManualClock;

const NOW_S: u64 = 1_795_000_000;

fn clock() -> Arc<ManualClock> {
    ManualClock::at(Timestamp::from_millis(i64::try_from(NOW_S * 1000).unwrap()))
}

fn tokens(keys: &[SigningKey], clock: Arc<ManualClock>) -> Tokens {
    Tokens::new(keys, "cratekube", "cratekube-rest", Duration::from_secs(300), clock)
}

fn grants() -> Vec<Grant> {
    vec![Grant { role: Role::Operator, environments: "team-*".parse().unwrap() }]
}

fn good_claims() -> Value {
    json!({"iss": "cratekube", "aud": "cratekube-rest", "sub": "ann", "jti": "1", "iat": NOW_S, "nbf": NOW_S,
        "exp": NOW_S + 60, "grants": [{"role": "viewer", "environments": "*"}]})
}

fn sign(key: &SigningKey, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| data_encoding::BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let message = format!("{}.{}", encode(header), encode(claims));
    let pair = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8(&key.pkcs8).unwrap();
    let signature = data_encoding::BASE64URL_NOPAD.encode(pair.sign(message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}

fn header(key: &SigningKey) -> Value {
    json!({"alg": "EdDSA", "typ": "JWT", "kid": key.kid})
}

#[test]
fn what_is_issued_verifies_and_carries_its_grants() {
    let tokens = tokens(&[SigningKey::generate().unwrap()], clock());
    tokens.self_test().unwrap();
    let token = tokens.issue("ann", &grants(), Duration::from_secs(60), "t-1").unwrap();
    let claims = tokens.verify(&token).unwrap();
    assert_eq!((claims.subject.as_str(), claims.token_id.as_str()), ("ann", "t-1"));
    assert_eq!(claims.grants, grants());
    assert_eq!(claims.expires_at_s, NOW_S + 60);
}

#[test]
fn a_key_that_signs_no_more_still_verifies_and_a_strangers_does_not() {
    let (old, new, strange) =
        (SigningKey::generate().unwrap(), SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let issue = |keys: &[SigningKey]| tokens(keys, clock()).issue("ann", &[], Duration::from_secs(60), "1").unwrap();
    let both = tokens(&[new.clone(), old.clone()], clock());
    assert!(both.verify(&issue(&[old])).is_ok());
    assert!(both.verify(&issue(&[new])).is_ok());
    assert_eq!(both.verify(&issue(&[strange])), Err(TokenFault::KeyUnknown));
}

#[test]
fn tokens_that_would_not_be_accepted_are_not_made() {
    let tokens = tokens(&[SigningKey::generate().unwrap()], clock());
    let issue = |subject: &str, s: u64| tokens.issue(subject, &[], Duration::from_secs(s), "1");
    assert_eq!(issue("ann", 301), Err(IssueFault::LifetimeTooLong { limit_s: 300 }));
    assert_eq!(issue("", 60), Err(IssueFault::OutOfBounds));
    assert_eq!(super::tests::tokens(&[], clock()).self_test(), Err(IssueFault::NoKey));
}

#[test]
fn hostile_row_16_17_18_no_other_algorithm_and_no_key_from_the_token() {
    let key = SigningKey::generate().unwrap();
    let tokens = tokens(std::slice::from_ref(&key), clock());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut header = header(&key);
        change(&mut header);
        tokens.verify(&sign(&key, &header, &good_claims())).map(|_| ())
    };
    for alg in [json!("none"), json!("None"), json!("HS256"), json!("RS256"), json!("ES256"), json!(null), json!(1)] {
        assert_eq!(with(&|h| h["alg"] = alg.clone()), Err(TokenFault::Algorithm), "{alg}");
    }
    assert_eq!(with(&|h| _ = h.as_object_mut().unwrap().remove("alg")), Err(TokenFault::Algorithm));
    assert_eq!(with(&|h| _ = h.as_object_mut().unwrap().remove("kid")), Err(TokenFault::KeyMissing));
    for kid in ["../../dev/null", "' OR 1=1 --", "", "unknown"] {
        assert_eq!(with(&|h| h["kid"] = json!(kid)), Err(TokenFault::KeyUnknown), "{kid}");
    }
    assert_eq!(with(&|h| h["crit"] = json!(["exp"])), Err(TokenFault::Critical));
    // Where to find keys is ignored: the key named by `kid` decides, whatever else the header says.
    assert_eq!(with(&|h| h["jku"] = json!("https://evil.example/jwks")), Ok(()));
    let strange = SigningKey::generate().unwrap();
    let forged = sign(&strange, &header(&key), &good_claims());
    assert_eq!(tokens.verify(&forged), Err(TokenFault::Signature));
    // HMAC with our public key as the secret.
    let hmac = Header { kid: Some(key.kid.clone()), ..Header::new(Algorithm::HS256) };
    let confused = jsonwebtoken::encode(&hmac, &good_claims(), &EncodingKey::from_secret(key.public())).unwrap();
    assert_eq!(tokens.verify(&confused), Err(TokenFault::Algorithm));
}

#[test]
fn hostile_row_19_20_every_claim_is_required_typed_and_bounded() {
    let key = SigningKey::generate().unwrap();
    let tokens = tokens(std::slice::from_ref(&key), clock());
    let with = |claim: &str, value: Option<Value>| {
        let mut claims = good_claims();
        match value {
            Some(value) => claims[claim] = value,
            None => _ = claims.as_object_mut().unwrap().remove(claim),
        }
        tokens.verify(&sign(&key, &header(&key), &claims)).map(|_| ())
    };
    assert_eq!(with("sub", Some(json!("bob"))), Ok(()));
    for claim in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "grants"] {
        assert_eq!(with(claim, None), Err(TokenFault::Missing(claim)));
        assert!(with(claim, Some(Value::Null)).is_err(), "{claim}");
    }
    for claim in ["exp", "nbf", "iat"] {
        for bad in [json!("1795000060"), json!(1_795_000_060.5), json!(-1), json!([1]), json!(1e300)] {
            assert_eq!(with(claim, Some(bad.clone())), Err(TokenFault::Claim(claim)), "{claim} = {bad}");
        }
    }
    let cases = [
        ("iss", json!("other"), TokenFault::Issuer),
        ("iss", json!(["cratekube", "other"]), TokenFault::Issuer),
        ("aud", json!("another-controller"), TokenFault::Audience),
        ("aud", json!(["x", "y"]), TokenFault::Audience),
        ("exp", json!(NOW_S - 6), TokenFault::Expired),
        ("nbf", json!(NOW_S + 6), TokenFault::NotYetValid),
        ("iat", json!(NOW_S + 6), TokenFault::IssuedInFuture),
        ("exp", json!(NOW_S + 301), TokenFault::LifetimeTooLong),
        ("exp", json!(u64::MAX), TokenFault::LifetimeTooLong),
        ("sub", json!(""), TokenFault::Claim("sub")),
        ("sub", json!("a\u{1b}[31m"), TokenFault::Claim("sub")),
        ("jti", json!(7), TokenFault::Claim("jti")),
        ("grants", json!([{"role": "root", "environments": "*"}]), TokenFault::Claim("grants")),
        ("grants", json!([{"role": "admin", "environments": "a*b"}]), TokenFault::Claim("grants")),
        ("grants", json!([{"role": "admin", "environments": "*", "x": 1}]), TokenFault::Claim("grants")),
        ("grants", json!("admin"), TokenFault::Claim("grants")),
    ];
    for (claim, value, fault) in cases {
        assert_eq!(with(claim, Some(value.clone())), Err(fault), "{claim} = {value}");
    }
}

#[test]
fn malformed_tokens_are_refused_without_a_panic() {
    let key = SigningKey::generate().unwrap();
    let tokens = tokens(std::slice::from_ref(&key), clock());
    let good = tokens.issue("ann", &[], Duration::from_secs(60), "1").unwrap();
    let long = "a".repeat(9_000);
    let duplicate = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","alg":"EdDSA"}"#);
    for bad in ["", ".", "..", "a.b.c", "a.b.c.d", "é.é.é", &long, &good[..good.len() - 1], &format!("{good}.x")] {
        assert!(tokens.verify(bad).is_err(), "{bad:?}");
    }
    assert_eq!(tokens.verify(&format!("{duplicate}.e30.AA")), Err(TokenFault::Malformed));
}

#[test]
fn the_cache_does_not_outlive_the_token() {
    let time = clock();
    let tokens = tokens(&[SigningKey::generate().unwrap()], Arc::clone(&time));
    let token = tokens.issue("ann", &[], Duration::from_secs(60), "1").unwrap();
    tokens.verify(&token).unwrap();
    assert_eq!(tokens.verified.len(), 1);
    time.advance(Duration::from_secs(64));
    assert!(tokens.verify(&token).is_ok(), "within the leeway");
    time.advance(Duration::from_secs(1));
    assert_eq!(tokens.verify(&token), Err(TokenFault::Expired));
    assert_eq!(tokens.verified.len(), 0);
    time.jump(-3_600_000);
    assert_eq!(tokens.verify(&token), Err(TokenFault::NotYetValid), "the clock decides, not the cache");
}
