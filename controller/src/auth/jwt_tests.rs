//! Tokens that must be refused, each with its reason.

use super::*;
use cratekube_common::domain::environment::Role;
use cratekube_common::domain::id::RevocationId;
use cratekube_common::domain::revocation::{Revocation, RevocationKind};
use cratekube_common::runtime::clock::{ManualClock, TimeSource};

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
    let strange_key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (name, value) in [
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/chain.pem")),
        ("x5c", json!(["MIIB"])),
        ("jwk", strange_key),
    ] {
        assert_eq!(with(&|h| h[name] = value.clone()), Ok(()), "{name}");
        assert_eq!(with(&|h| (h[name], h["kid"]) = (value.clone(), json!("unknown"))), Err(TokenFault::KeyUnknown));
    }
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
        ("api_key", json!(7), TokenFault::Claim("api_key")),
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

#[test]
fn hostile_row_20_a_token_of_one_controller_is_nothing_to_another() {
    let make = |issuer| {
        Tokens::new(&[SigningKey::generate().unwrap()], issuer, "cratekube", Duration::from_secs(300), clock())
    };
    let (a, b) = (make("cratekube:a"), make("cratekube:b"));
    let token = a.issue("ann", &grants(), Duration::from_secs(60), "1").unwrap();
    assert!(a.verify(&token).is_ok());
    assert_eq!(b.verify(&token), Err(TokenFault::KeyUnknown));
}

fn revoked(kind: RevocationKind, value: &str, ms_after: i64) -> Revocation {
    let at = Timestamp::from_millis(i64::try_from(NOW_S * 1000).unwrap() + ms_after);
    Revocation {
        id: RevocationId(uuid::Uuid::from_u128(1)),
        kind,
        value: value.into(),
        made_until: at,
        reason: "left".into(),
        by: "root".into(),
        at,
        until: at.after(Duration::from_secs(310)),
    }
}

#[test]
fn hostile_row_24_a_revoked_token_is_refused_although_it_was_verified_a_moment_ago() {
    let time = clock();
    let tokens = tokens(&[SigningKey::generate().unwrap()], Arc::clone(&time));
    let issue = |subject: &str, id: &str| tokens.issue(subject, &[], Duration::from_secs(60), id).unwrap();
    let (one, two, bobs) = (issue("ann", "t-1"), issue("ann", "t-2"), issue("bob", "t-3"));
    for token in [&one, &two, &bobs] {
        tokens.verify(token).unwrap();
    }
    let merge = |revocation| tokens.revocations().merge(&[revocation], clock().now());
    merge(revoked(RevocationKind::Token, "t-1", 0));
    assert_eq!(tokens.verify(&one), Err(TokenFault::Revoked));
    assert!(tokens.verify(&two).is_ok());
    merge(revoked(RevocationKind::Subject, "ann", 200));
    assert_eq!(tokens.verify(&two), Err(TokenFault::Revoked));
    time.advance(Duration::from_millis(400));
    assert!(tokens.verify(&issue("ann", "t-4")).is_ok(), "made after it, in the same second");
    assert!(tokens.verify(&bobs).is_ok());
    merge(revoked(RevocationKind::Before, "now", 400));
    assert_eq!(tokens.verify(&bobs), Err(TokenFault::Revoked));
    assert!(tokens.verify(&issue("bob", "t-5")).is_ok());
}

#[tokio::test]
async fn hostile_row_24_whoever_waits_for_the_end_of_a_token_hears_of_its_revocation() {
    let tokens = tokens(&[SigningKey::generate().unwrap()], clock());
    let token = tokens.issue("ann", &[], Duration::from_secs(60), "t-1").unwrap();
    let claims = tokens.verify(&token).unwrap();
    let waits = tokens.revoked(&claims);
    tokio::pin!(waits);
    let others = revoked(RevocationKind::Token, "t-2", 0);
    tokens.revocations().merge(&[others], clock().now());
    assert!(futures::poll!(&mut waits).is_pending());
    tokens.revocations().merge(&[revoked(RevocationKind::Token, "t-1", 0)], clock().now());
    waits.await;
}

#[tokio::test]
async fn hostile_row_24_a_stolen_signing_key_takes_open_streams_with_it() {
    let old = SigningKey::generate().unwrap();
    let tokens = tokens(std::slice::from_ref(&old), clock());
    let claims = tokens.verify(&tokens.issue("ann", &[], Duration::from_secs(60), "t-1").unwrap()).unwrap();
    let waits = tokens.revoked(&claims);
    tokio::pin!(waits);
    tokens.use_keys(&[SigningKey::generate().unwrap(), old]);
    assert!(futures::poll!(&mut waits).is_pending(), "it verifies still");
    tokens.use_keys(&[SigningKey::generate().unwrap()]);
    waits.await;
}

#[test]
fn an_api_key_is_no_token() {
    let tokens = tokens(&[SigningKey::generate().unwrap()], clock());
    let key = format!("ckk1_{}", "a".repeat(51));
    assert_eq!(tokens.verify(&key), Err(TokenFault::ApiKey));
}

#[test]
fn hostile_row_24_a_token_from_a_key_is_dated_when_the_key_was_looked_at() {
    let time = clock();
    let tokens = tokens(&[SigningKey::generate().unwrap()], Arc::clone(&time));
    let asked_at = time.now();
    let key = ApiKey {
        id: cratekube_common::domain::id::ApiKeyId(uuid::Uuid::from_u128(7)),
        handle: "aaaaaaaa".into(),
        name: "pipeline".into(),
        subject: "ann".into(),
        grants: grants(),
        created_at: Timestamp::from_millis(0),
        created_by: "root".into(),
        expires_at: asked_at,
        last_used_at: None,
        revoked_at: None,
    };
    // Between the look at the key and the making of the token, ann was revoked and her keys with her.
    time.advance(Duration::from_secs(2));
    tokens.revocations().merge(&[revoked(RevocationKind::Subject, "ann", 500)], time.now());
    let holder = Holder { subject: "ann", grants: &key.grants, api_key: Some(&key) };
    let token = tokens.issue_to(holder, asked_at, Duration::from_secs(60), "t-1").unwrap();
    assert_eq!(tokens.verify(&token), Err(TokenFault::Revoked));
}
