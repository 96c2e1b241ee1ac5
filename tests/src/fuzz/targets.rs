//! What is fuzzed: each target takes bytes as a stranger sends them, and says what must hold.

use std::sync::Arc;
use std::time::Duration;

use cratekube_common::domain::agent::AgentFacts;
use cratekube_common::domain::cluster::access::KubeconfigRequest;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::Secrets;
use cratekube_common::domain::environment::{Grant, Role};
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::join_token::JoinToken;
use cratekube_common::domain::key_algorithm::KeyAlgorithm;
use cratekube_common::domain::query::Query;
use cratekube_common::domain::run::{Assignment, HeldRun, RunReport};
use cratekube_common::domain::secret::{MASK, Secret};
use cratekube_common::intake::parse_json;
use cratekube_common::redact::{KnownSecrets, Login, Redactor};
use cratekube_common::runtime::{clock, mint::Mint, tls};
use cratekube_common::yaml;
use cratekube_controller::auth::{SigningKey, Tokens};
use cratekube_controller::keys::Envelope;
use cratekube_controller::pki::authority::Authority;
use cratekube_proto::convert::query;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use prost::Message as _;
use uuid::Uuid;
use x509_parser::prelude::parse_x509_certificate;

/// A parser and what must hold of it.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Good inputs, and telling bad ones.
    pub corpus: Vec<Vec<u8>>,
    /// Plays one input; panics when something does not hold.
    pub run: Play,
}

/// Plays one input.
pub type Play = Box<dyn Fn(&[u8])>;

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// All targets.
#[must_use]
pub fn targets() -> Vec<Target> {
    vec![
        jwt(),
        join_token(),
        agent_message(),
        controller_message(),
        json(),
        yaml(),
        redactor(),
        envelope(),
        request(),
        pem(),
        state(),
    ]
}

fn target(name: &'static str, corpus: Vec<Vec<u8>>, run: impl Fn(&[u8]) + 'static) -> Target {
    Target { name, corpus, run: Box::new(run) }
}

/// Whatever is accepted says what the one genuine token says.
fn jwt() -> Target {
    let keys = [SigningKey::generate().unwrap()];
    let tokens = Tokens::new(&keys, "issuer", "audience", Duration::from_secs(3_600), clock::system());
    let grants = [Grant { role: Role::Viewer, environments: "prod".parse().unwrap() }];
    let genuine = tokens.issue("ann", &grants, Duration::from_secs(3_600), "jti-1").unwrap();
    let signature = genuine.rsplit('.').next().unwrap_or_default().to_owned();
    let with = |header: &str, claims: &str| {
        let encode = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{signature}", encode(header), encode(claims)).into_bytes()
    };
    let claims = r#"{"iss":"issuer","aud":"audience","sub":"eve","exp":9999999999,"grants":[{"role":"admin","environments":"*"}]}"#;
    let corpus = vec![
        genuine.into_bytes(),
        with(r#"{"alg":"none"}"#, claims),
        with(r#"{"alg":"HS256","typ":"JWT"}"#, claims),
        with(r#"{"alg":"EdDSA","kid":"../../etc/passwd","jku":"https://evil"}"#, claims),
        b"a.b.c".to_vec(),
    ];
    target("jwt", corpus, move |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(claims) = tokens.verify(text) {
            assert_eq!((claims.subject.as_str(), &claims.grants[..]), ("ann", &grants[..]));
        }
    })
}

/// Whatever is accepted is written back the same, and its secret is shown nowhere.
fn join_token() -> Target {
    let good = format!("ckj1.{}.{}", "s3cretS3cret".repeat(4), "0f".repeat(32)).into_bytes();
    target("join-token", vec![good, b"ckj1..".to_vec(), b"ckj2.a.b".to_vec()], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match text.parse::<JoinToken>() {
            Ok(token) => {
                assert_eq!(token.expose().expose(), text.trim());
                assert!(!format!("{token:?}").contains(token.secret.expose()));
            }
            Err(error) => {
                let said = error.to_string();
                assert!(text.len() < 30 || !said.contains(text), "an error repeats the token");
            }
        }
    })
}

/// What agents say is decoded and converted, or refused.
fn agent_message() -> Target {
    let encode = |message| v1::AgentMessage { message: Some(message) }.encode_to_vec();
    let id = Uuid::from_u128(7).to_string();
    let volume = v1::Volume { id: id.clone(), path: "/v".into(), free_bytes: 1, total_bytes: 2, ..Default::default() };
    let rke = v1::RkeBinary { version: "v1.8.4".into(), sha256: "ab".repeat(32), rehearsal: true };
    let facts = v1::AgentFacts {
        version: "0.1.0".into(),
        hostname: "b".into(),
        slots: 4,
        rke: Some(rke.clone()),
        kubernetes_versions: vec!["v1.30.14-rancher1-1".into()],
        volumes: vec![volume],
    };
    let run = v1::HeldRun { attempt: id.clone(), fence: 3, cluster: id.clone(), volume: id.clone(), live: true };
    let file = v1::SealedFile { name: "cluster.rkestate".into(), bytes: 9, sha256: "cd".repeat(32) };
    let manifest = v1::Manifest {
        number: 1,
        cluster: id.clone(),
        operation: id.clone(),
        attempt: id.clone(),
        fence: 3,
        sealed_ms: 5,
        ca_sha256: Some("ef".repeat(32)),
        good: true,
        fault: None,
        files: vec![file],
    };
    let report = v1::RunReport {
        attempt: id.clone(),
        fence: 3,
        result: 1,
        failure: None,
        exit: Some(v1::Exit { status: Some(v1::exit::Status::Code(0)) }),
        started_ms: Some(1),
        ended_ms: 2,
        generation: Some(manifest),
        rke: Some(rke),
        warnings: vec!["w".into()],
        output_bytes: 10,
        findings_json: "{\"checks\":[]}".into(),
    };
    let corpus = vec![
        encode(Up::Hello(v1::Hello {
            facts: Some(facts),
            runs: vec![run],
            now_ms: 1,
            answers: vec!["kubeconfig".into()],
        })),
        encode(Up::Answer(v1::Answer { id: id.clone(), outcome: Some(v1::answer::Outcome::OutputJson("{}".into())) })),
        encode(Up::Report(report)),
        encode(Up::Started(v1::RunStarted { attempt: id, fence: 3, started_ms: 1 })),
        encode(Up::Ready(v1::Ready { slots: u32::MAX })),
        vec![0x0b; 200],
    ];
    target("agent", corpus, |bytes| match v1::AgentMessage::decode(bytes).map(|message| message.message) {
        Ok(Some(Up::Hello(hello))) => {
            let _facts = hello.facts.map(AgentFacts::try_from);
            let _runs: Vec<_> = hello.runs.into_iter().map(HeldRun::try_from).collect();
            let _kinds = query::kinds(&hello.answers);
        }
        Ok(Some(Up::Report(report))) => {
            let _report = RunReport::try_from(report);
        }
        Ok(Some(Up::Answer(answer))) => {
            let _answer = query::read_answer(answer);
        }
        _ => {}
    })
}

/// What controllers say is decoded and converted, or refused.
fn controller_message() -> Target {
    let encode = |message| v1::ControllerMessage { message: Some(message) }.encode_to_vec();
    let id = Uuid::from_u128(7).to_string();
    let assignment = v1::Assignment {
        attempt: id.clone(),
        fence: 3,
        task: id.clone(),
        kind: "provision".into(),
        request_id: "r-1".into(),
        operation: id.clone(),
        cluster: id.clone(),
        environment: "prod".into(),
        name: "web".into(),
        volume: id.clone(),
        spec_json: SPEC.into(),
        known: Some(v1::KnownState { generation: 1, state_sha256: Some("ab".repeat(32)), ca_sha256: None }),
        recovery: None,
        input_json: "{\"earlier\":{}}".into(),
    };
    let question = v1::Query {
        id: id.clone(),
        kind: "kubeconfig".into(),
        cluster: id.clone(),
        environment: "prod".into(),
        name: "web".into(),
        volume: id.clone(),
        input_json: r#"{"role":"view","namespace":"shop","ttl_s":600}"#.into(),
        patience_ms: 20_000,
    };
    let verdicts = vec![v1::Verdict { attempt: id, kind: 3 }];
    let corpus = vec![
        encode(Down::Assignment(assignment)),
        encode(Down::Query(question)),
        encode(Down::LeaseVerdicts(v1::LeaseVerdicts { verdicts, now_ms: 1 })),
        encode(Down::Shutdown(v1::Shutdown {})),
    ];
    target("controller", corpus, |bytes| match v1::ControllerMessage::decode(bytes).map(|message| message.message) {
        Ok(Some(Down::Assignment(assignment))) => {
            let _assignment = Assignment::try_from(assignment);
        }
        Ok(Some(Down::Query(question))) => {
            let _asked = Query::try_from(question).map(|query| KubeconfigRequest::from_json(&query.input));
        }
        _ => {}
    })
}

const SPEC: &str = r#"{"kubernetes_version":"v1.30.14-rancher1-1","nodes":[{"address":"10.0.0.1","roles":["controlplane","etcd","worker"],"labels":{"disk":"ssd"}}],"private_registries":[{"url":"registry.example","user":"u","password":"canary-secret-42"}]}"#;

/// A description that is accepted is written back as one that is accepted and the same; masked, it
/// keeps no secret.
fn json() -> Target {
    let corpus = vec![
        SPEC.as_bytes().to_vec(),
        br#"{"nodes":[]}"#.to_vec(),
        br#"{"a":{"b":[1,2.5e3,null,true,"\u0000\ud800"]}}"#.to_vec(),
        "[".repeat(300).into_bytes(),
    ];
    target("json", corpus, |bytes| {
        let Ok(document) = parse_json(bytes) else { return };
        let Ok((spec, _warnings)) = intake::read(&document) else { return };
        let written = spec.to_json(Secrets::Reveal);
        let (again, _) = intake::read(&written).unwrap_or_else(|faults| panic!("{faults:?}"));
        assert_eq!(again.to_json(Secrets::Reveal), written);
        let masked = spec.to_json(Secrets::Mask);
        for registry in masked["private_registries"].as_array().into_iter().flatten() {
            assert!(registry["password"].is_null() || registry["password"] == MASK, "{registry}");
        }
    })
}

/// What is read of a text of YAML is what is read of the same written as JSON, which is YAML; depth is bounded.
fn yaml() -> Target {
    let corpus = vec![
        b"apiVersion: v1\nkind: Secret\nmetadata: {name: x, labels: {a: 'b'}}\ndata:\n  k: |\n    text\n".to_vec(),
        b"a: 1\n---\nb: [x, \"y\", 3]\n...\n".to_vec(),
        b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n".to_vec(),
        b"<<: {a: 1}\na: NO\nb: 0755\nc: !!python/object x\na: 2\n".to_vec(),
        b"- - - - - - - - x\n".to_vec(),
    ];
    target("yaml", corpus, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Ok(documents) = yaml::read(text) else { return };
        for document in documents {
            let written = document.value.to_string();
            let again = yaml::read(&written).unwrap_or_else(|faults| panic!("{faults:?}: {written}"));
            assert_eq!(again.first().map(|document| &document.value), Some(&document.value), "{written}");
        }
    })
}

/// However output is cut, the same of it is masked, as much comes out as went in, newlines stay, and a
/// password that is known is not in it.
fn redactor() -> Target {
    const PASSWORD: &str = "canary-secret-42";
    let known = KnownSecrets::of(&[Login { user: Some("robot".into()), password: Secret::new(PASSWORD) }]);
    let corpus = vec![
        b"password: one two\n  three\nuser: u\nmsg=\"{\\\"token\\\":\\\"abc\\\"}\"\n".to_vec(),
        b"-----BEGIN PRIVATE KEY-----\nMIIabcdefghijklmnopqrstuvwxyz\n-----END PRIVATE KEY-----\n".to_vec(),
        b"https://u:pa/ss@host/x Authorization: Bearer eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln\n".to_vec(),
        format!("login with {PASSWORD} AKIAABCDEFGHIJKLMNOP ckk1_0123456789\n").into_bytes(),
    ];
    target("redactor", corpus, move |bytes| {
        let whole = redacted(known.as_ref(), [bytes]);
        // Cuts that are the input's own choice.
        let size = bytes.first().map_or(1, |byte| usize::from(*byte % 61) + 1);
        assert_eq!(redacted(known.as_ref(), bytes.chunks(size)), whole, "cut into pieces of {size}");
        let kept = |(out, was): (&u8, &u8)| out == was || *out == b'*' && !matches!(was, b'\n' | b'\r');
        assert!(whole.len() == bytes.len() && whole.iter().zip(bytes).all(kept));
        let leaks = |text: &[u8]| text.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!leaks(&whole), "a known password is shown");
    })
}

fn redacted<'a>(known: Option<&KnownSecrets>, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut redactor, mut out) = (Redactor::new(known), Vec::new());
    chunks.into_iter().for_each(|chunk| out.extend_from_slice(redactor.pass(chunk)));
    out.extend_from_slice(redactor.finish());
    out
}

/// Nothing but what was sealed opens.
fn envelope() -> Target {
    let mint = Mint::system(clock::system());
    let envelope = Envelope::new(&zeroize::Zeroizing::new(vec![7; 32]), mint).unwrap();
    let sealed = envelope.seal(b"context", b"the secret");
    let corpus = vec![sealed.clone(), envelope.seal(b"another", b"the secret"), b"CK1".to_vec(), Vec::new()];
    target("envelope", corpus, move |bytes| {
        if envelope.open(b"context", bytes).is_ok() {
            assert_eq!(bytes, sealed);
        }
    })
}

/// Whatever is certified is a plain client certificate.
fn request() -> Target {
    let dir = tempfile::tempdir().unwrap();
    let clock = clock::system();
    let mint = Mint::system(clock.clone());
    let envelope = Envelope::new(&zeroize::Zeroizing::new(vec![7; 32]), mint.clone()).unwrap();
    let algorithm = KeyAlgorithm::EcdsaP256;
    let authority = Authority::load(dir.path(), true, algorithm, &std::sync::Arc::new(envelope), clock, mint).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut greedy = rcgen::CertificateParams::new(vec!["controller".to_owned()]).unwrap();
    greedy.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let corpus = vec![
        cratekube_agent::identity::credentials::new_key("bastion-1").unwrap().csr,
        greedy.serialize_request(&key).unwrap().der().to_vec(),
    ];
    let authority = Arc::new((authority, dir));
    target("csr", corpus, move |bytes| {
        let (id, name) = (AgentId(Uuid::from_u128(1)), "bastion-1".parse().unwrap());
        if let Ok(issued) = authority.0.issue_agent(bytes, id, &name, 1, None) {
            let (_, leaf) = parse_x509_certificate(&issued.certificate).unwrap();
            assert!(!leaf.is_ca() && leaf.subject().to_string() == "CN=bastion-1, serialNumber=1");
        }
    })
}

/// Certificates and keys in PEM are read, or refused.
fn pem() -> Target {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let corpus = vec![made.pem().into_bytes(), key.serialize_pem().into_bytes(), b"-----BEGIN X-----".to_vec()];
    target("pem", corpus, |bytes| {
        let _key = tls::private_key(bytes);
        for certificate in tls::certificates(bytes).unwrap_or_default() {
            let _validity = cratekube_agent::identity::validity(&certificate);
        }
    })
}

/// RKE's state is inspected, or refused.
fn state() -> Target {
    let corpus = vec![
        br#"{"desiredState":{"certificatesBundle":{"kube-ca":{"certificatePEM":"x"}}},"currentState":{}}"#.to_vec(),
        b"{}".to_vec(),
        Vec::new(),
    ];
    target("state", corpus, |bytes| {
        let _facts = cratekube_common::rke::state::inspect(bytes);
    })
}
