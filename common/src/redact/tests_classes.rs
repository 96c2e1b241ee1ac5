//! Secrets of every sort, planted in random text and cut into random chunks.

use std::ops::Range;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use proptest::prelude::*;
use proptest::sample::select;

use super::{KnownSecrets, Login, Redactor};
use crate::domain::secret::Secret;

/// A text, and where its secrets are.
#[derive(Clone, Default)]
pub(super) struct Planted {
    pub(super) text: Vec<u8>,
    pub(super) secrets: Vec<Range<usize>>,
}

impl std::fmt::Debug for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", String::from_utf8_lossy(&self.text), self.secrets)
    }
}

impl Planted {
    fn open(mut self, text: &str) -> Self {
        self.text.extend_from_slice(text.as_bytes());
        self
    }

    fn secret(mut self, text: &str) -> Self {
        let start = self.text.len();
        self.text.extend_from_slice(text.as_bytes());
        self.secrets.push(start..self.text.len());
        self
    }

    fn join(mut self, other: &Planted) -> Self {
        let start = self.text.len();
        self.text.extend_from_slice(&other.text);
        self.secrets.extend(other.secrets.iter().map(|range| range.start + start..range.end + start));
        self
    }

    /// What it must become.
    fn expected(&self) -> Vec<u8> {
        let mut expected = self.text.clone();
        self.secrets.iter().for_each(|range| expected[range.clone()].fill(b'*'));
        expected
    }
}

fn open(text: &str) -> Planted {
    Planted::default().open(text)
}

pub(super) fn redact<'a>(redactor: &mut Redactor, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks {
        out.extend_from_slice(redactor.pass(chunk));
    }
    out.extend_from_slice(redactor.finish());
    out
}

pub(super) fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).chain([0, text.len()]).collect();
    places.sort_unstable();
    places.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

// ---- text that must stay

const LINES: [&str; 12] = [
    "time=\"2026-11-23T17:01:49Z\" level=info msg=\"[dialer] Setup tunnel for host [127.0.0.2]\"\n",
    "time=\"2026-11-23T17:01:49Z\" level=info msg=\"Pulling image [127.0.0.1:5999/rancher/rke-tools:v0.1.80] on host [127.0.0.2], try #1\"\n",
    "time=\"2026-11-23T17:01:49Z\" level=warning msg=\"Error response from daemon: Get \\\"http://127.0.0.1:5999/v2/\\\": dial tcp 127.0.0.1:5999: connect: connection refused\"\n",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n",
    "id 0193576e-7a9c-7cc3-98c4-dc0c0c07398f, revision 40c5dd46a8b9d2f1e0c3b4a5968778695a4b3c2d\n",
    "\u{1b}[36mINFO\u{1b}[0m[0010] Building Kubernetes cluster                  \n",
    "the password is wrong, the token has expired, and the secret was not found\n",
    "password_file: /etc/x, tokens: 12, secretName=web-tls passwordless\n",
    "-----BEGIN CERTIFICATE-----\nMIIBdzCCAR2gAwIBAgIUWJ3dZ0Vb9nYl6m5M0vHqk1mH0k8wCgYIKoZIzj0EAwIw\nEjEQMA4GA1UEAwwHa3ViZS1jYTAeFw0yNjAx\n-----END CERTIFICATE-----\n",
    "    certificate-authority-data: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUN3akNDQWFxZ0F3SUJBZ0lCQURBTkJna3Foa2lHOXcwQkFRc0ZBREFTTVJBd0RnWURWUVFERXdkcmRXSmwK\n",
    "Are you sure you want to remove Kubernetes cluster [y/n]: \n",
    "git@github.com:cratekube/x.git ssh://git@host.example/x AKIA ASIA-PACIFIC eyJ bearer token, basic auth\n",
];

fn filler() -> impl Strategy<Value = Planted> {
    let noise = prop::collection::vec(select(&[0xffu8, 0xc3, 0x00, 0x80, b' ', b'.', b'\n'][..]), 0..12);
    let line = prop_oneof![
        4 => select(&LINES[..]).prop_map(|line| line.as_bytes().to_vec()),
        1 => noise.prop_map(|mut noise| { noise.push(b'\n'); noise }),
    ];
    prop::collection::vec(line, 0..4).prop_map(|lines| Planted { text: lines.concat(), secrets: Vec::new() })
}

// ---- secrets

fn base64(length: Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<u8>(), length).prop_map(|bytes| BASE64.encode(&bytes))
}

fn base64url(length: Range<usize>) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<u8>(), length).prop_map(|bytes| BASE64URL_NOPAD.encode(&bytes))
}

const LABELS: [&str; 5] =
    ["RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];

/// A private key whose lines end with `newline`.
fn pem(label: &str, body: &str, newline: &str) -> Planted {
    let mut pem = open(&format!("-----BEGIN {label}-----{newline}"));
    for line in body.as_bytes().chunks(64) {
        pem = pem.secret(std::str::from_utf8(line).unwrap()).open(newline);
    }
    pem.open(&format!("-----END {label}-----"))
}

fn keys() -> impl Strategy<Value = Planted> {
    let around = select(
        &[
            ("", "\n", "\n"),
            ("  ", "\n  ", "\n"),
            ("", "\r\n", "\r\n"),
            ("", " ", "\n"),
            ("time=\"2026-11-23T17:01:49Z\" level=trace msg=\"writing ", "\\n", "\"\n"),
            ("msg=\"{\\\"kube-ca\\\":{\\\"keyPEM\\\": \\\"", "\\\\n", "\\\"}}\"\n"),
            ("{\"keyPEM\":\"", "\\n", "\"}\n"),
        ][..],
    );
    (around, select(&LABELS[..]), base64(20..900))
        .prop_map(|((before, newline, after), label, body)| open(before).join(&pem(label, &body, newline)).open(after))
}

fn encoded_keys() -> impl Strategy<Value = Planted> {
    let around = select(&[("", "\n"), ("x ", " y\n"), ("msg=\"", "\"\n"), ("\\n", "\\nkind: Config\n")][..]);
    (around, select(&LABELS[..]), base64(40..600)).prop_map(|((before, after), label, body)| {
        let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let encoded = BASE64.encode(pem.as_bytes());
        open(before).open(&encoded[..20]).secret(&encoded[20..]).open(after)
    })
}

/// Names, how their values begin and end, and which letters these have.
const NAMED: [(&str, &str, &str); 30] = [
    ("password: ", "\n", "bare"),
    ("    password=", "\n", "bare"),
    ("user=x password=", " host=y\n", "bare"),
    ("{URL:x User:u Password:", " IsDefault:true}\n", "bare"),
    ("msg=\"private_registries:\\n- password: ", "\\n  user: u\"\n", "bare"),
    ("DB_PASSWORD=", "\n", "bare"),
    ("--password ", " --user x\n", "bare"),
    ("curl --token=", " x\n", "bare"),
    ("token: ", "\n", "bare"),
    ("aws_secret_access_key = ", "\n", "bare"),
    ("AWS_SECRET_ACCESS_KEY=", "\n", "bare"),
    ("secretkey: ", "\n", "bare"),
    ("        secret: ", "\n", "bare"),
    ("client-key-data: ", "\n", "bare"),
    ("\"password\": \"", "\"\n", "json"),
    ("{\"user\":\"u\",\"password\":\"", "\",\"url\":\"x\"}\n", "json"),
    ("\"SecretAccessKey\" : \"", "\", x\n", "json"),
    ("\"client-key-data\":\"", "\"\n", "json"),
    ("Password:\"", "\", IsDefault:true\n", "json"),
    ("\"auths\":{\"x\":{\"auth\":\"", "\"}}\n", "json"),
    ("password: '", "' # x\n", "single"),
    ("msg=\"{\\\"password\\\": \\\"", "\\\",\\\"url\\\":1}\"\n", "json in json"),
    ("msg=\"password: \\\"", "\\\"\\n\"\n", "json in json"),
    ("\"{\\\\\\\"token\\\\\\\":\\\\\\\"", "\\\\\\\"}\"\n", "plain"),
    ("passphrase => `", "` y\n", "plain"),
    ("password: ", "\n", "line"),
    ("  - registry-password:   ", "\r\n", "line"),
    ("    token:\t", "\n", "line"),
    ("msg=\"x:\\n- password: ", "\\n  user: u\"\n", "escaped line"),
    ("msg=\"\\npassword: ", "\"\n", "escaped line"),
];

fn named() -> impl Strategy<Value = Planted> {
    let bare = "[!#-&(-+./0-9;<>?@A-Z^_a-z~][!#-&(-\\[\\]-~]{3,50}";
    (select(&NAMED[..]), bare, "[ -~]{4,40}", "[0-9a-zA-Z+/]{4,60}").prop_map(
        |((before, after, sort), bare, any, plain)| {
            let json = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let value = match sort {
                "bare" => bare.replace(['[', '{', '(', ':', '=', '>', '|', ',', ';', '*'], "x"),
                "json" => json(&any),
                "json in json" => json(&json(&any)),
                "line" => format!("x{any}"),
                "escaped line" => format!("x{}", any.replace(['"', '\\', '\''], " ")),
                "single" => any.replace('\\', "/").replace('\'', "''"),
                _ => plain,
            };
            open(before).secret(&value).open(after)
        },
    )
}

fn tokens() -> impl Strategy<Value = Planted> {
    let around = select(
        &[
            ("", "\n"),
            ("x ", " y\n"),
            ("\"", "\"\n"),
            ("=", "&x\n"),
            ("msg=\"a\\n", "\\nb\"\n"),
            ("(", ")\n"),
            ("\\u003c", "\n"),
        ][..],
    );
    let jwt = (base64url(12..40), base64url(12..200), base64url(32..64))
        .prop_map(|(header, claims, signature)| open("eyJ").secret(&format!("{header}.{claims}.{signature}")));
    let jose = base64url(20..90).prop_map(|rest| open("x/eyJhbGciOi").secret(&rest));
    let aws = ("(AKIA|ASIA)", "[A-Z0-9]{16}").prop_map(|(mark, id)| open(&mark).secret(&id));
    let join = ("[0-9a-zA-Z]{43}", "[0-9a-f]{64}").prop_map(|(a, b)| open("ckj1.").secret(&format!("{a}.{b}")));
    let key = "[0-9a-zA-Z]{43}".prop_map(|secret| open("ckk1_").secret(&secret));
    let github = "[0-9a-zA-Z]{36}".prop_map(|secret| open("ghp_").secret(&secret));
    (around, prop_oneof![jwt, jose, aws, join, key, github])
        .prop_map(|((before, after), token)| open(before).join(&token).open(after))
}

fn headers() -> impl Strategy<Value = Planted> {
    let forms = [
        ("Authorization: ", "Bearer ", "\n"),
        ("\"Authorization\":\"", "Basic ", "\"\n"),
        ("map[Authorization:[", "Basic ", "\n"),
        ("> X-Registry-Auth: ", "", "\r\n"),
        ("Set-Cookie: ", "session=", "\n"),
    ];
    let named = (select(forms.to_vec()), "[0-9a-zA-Z+/]{8,60}")
        .prop_map(|((before, scheme, after), secret)| open(before).secret(&format!("{scheme}{secret}")).open(after));
    let bearer = "[0-9a-zA-Z_.-]{16,80}".prop_map(|secret| open("used BEARER ").secret(&secret).open(" for it\n"));
    let url = ("[a-z]{0,8}", "[!$%*+;=A-Za-z0-9~.@:_-]{1,40}").prop_map(|(user, password)| {
        open(&format!("https://{user}:")).secret(&password.replace('@', "x")).open("@registry.example:5000/v2/\n")
    });
    let steep = ("[a-z]{1,8}", "[a-z][!$%*+;=A-Za-z0-9~._:/?#-]{3,40}").prop_map(|(user, password)| {
        open(&format!("https://{user}:")).secret(&password).open("@registry.example:5000/v2/\n")
    });
    prop_oneof![named, bearer, url, steep]
}

/// Values of YAML that go on over lines: signs, quotes, or nothing but their indentation tell.
fn lines() -> impl Strategy<Value = Planted> {
    let keys = ["password:", "- password:", "    db-password:", "  - token:"];
    let signs = [" |\n", " >\n", " |-\n", " |2+ # x\n", " x first\n", " \"first\n", "  'first\n"];
    let line = prop_oneof![8 => "[!-~][ -~]{0,40}", 1 => Just(String::new())];
    (select(keys.to_vec()), select(signs.to_vec()), prop::collection::vec((1usize..5, line), 1..5)).prop_map(
        |(key, sign, lines)| {
            let indent = key.find(char::is_alphabetic).unwrap();
            let mut planted = open(key);
            // A sign that says more than one letter is masked like the value that it may be.
            planted = match sign.trim() {
                "|" | ">" => planted.open(sign),
                _ => {
                    let begin = sign.find(|c: char| !" \"'|>".contains(c)).unwrap();
                    planted.open(&sign[..begin]).secret(sign[begin..].trim_end()).open("\n")
                }
            };
            for (more, line) in &lines {
                let blanks = if line.is_empty() { 0 } else { indent + more };
                planted = planted.open(&" ".repeat(blanks)).secret(line).open("\n");
            }
            planted
        },
    )
}

pub(super) fn any_class() -> impl Strategy<Value = Planted> {
    prop_oneof![keys(), encoded_keys(), named(), tokens(), headers(), lines()]
}

/// Whether no eight letters of a secret are left, but for those that stand in public text as well.
fn no_piece_survives(planted: &Planted, out: &[u8]) -> bool {
    let has = |text: &[u8], piece: &[u8]| text.windows(8).any(|window| window == piece);
    let mut public = planted.text.clone();
    planted.secrets.iter().for_each(|range| public[range.clone()].fill(0));
    let pieces = planted.secrets.iter().flat_map(|range| planted.text[range.clone()].windows(8));
    pieces.filter(|piece| !has(&public, piece)).all(|piece| !has(out, piece) || piece.iter().all(|byte| *byte == b'*'))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn hostile_row_72_no_secret_of_any_sort_survives_any_chunking_and_nothing_else_is_touched(
        parts in prop::collection::vec((filler(), any_class()), 1..4),
        end in filler(),
        cuts in prop::collection::vec(any::<usize>(), 0..24),
    ) {
        // Words in between: letters of one key right behind those of another are taken for its own.
        let apart = open("so much for that\n");
        let put = |all: Planted, (filler, class): &(Planted, Planted)| all.join(filler).join(class).join(&apart);
        let planted = parts.iter().fold(Planted::default(), put).join(&end);
        let out = redact(&mut Redactor::new(None), cut(&planted.text, &cuts));
        let (shown, expected) = (String::from_utf8_lossy(&out), planted.expected());
        prop_assert_eq!(&shown, &String::from_utf8_lossy(&expected));
        prop_assert!(no_piece_survives(&planted, &out), "{}", shown);
        prop_assert_eq!(redact(&mut Redactor::new(None), [&planted.text[..]]), &out[..], "chunks make no difference");
        prop_assert_eq!(redact(&mut Redactor::new(None), [&out[..]]), &out[..], "what is masked stays as it is");
    }

    #[test]
    fn hostile_row_72_what_a_run_knows_is_masked_in_every_form(
        password in prop_oneof!["[ -~]{4,40}", "\\PC{6,20}", "[ -~\n\t]{60,300}"],
        filler in filler(),
        cuts in prop::collection::vec(any::<usize>(), 0..24),
        form in 0usize..7,
    ) {
        let known = KnownSecrets::of(&[Login { user: Some("robot".into()), password: Secret::new(&password) }]);
        let json = |text: &str| { let quoted = serde_json::to_string(text).unwrap(); quoted[1..quoted.len() - 1].to_owned() };
        let form = match form {
            0 => password.clone(),
            1 => json(&password),
            2 => json(&json(&password)),
            3 => json(crate::rke::yaml::emit(&password.as_str().into()).trim().trim_matches('"')),
            4 => BASE64.encode(format!("robot:{password}").as_bytes()).trim_end_matches('=').to_owned(),
            5 => password.replace('\'', "''"),
            _ => json(&json(&json(&password))),
        };
        prop_assume!(!form.contains(char::is_control) || form == password);
        let planted = Planted::default().join(&filler).open("say <").secret(&form).open("> \n");
        let out = redact(&mut Redactor::new(known.as_ref()), cut(&planted.text, &cuts));
        let expected: Vec<u8> = planted.expected().iter().zip(&planted.text)
            .map(|(masked, was)| if *was == b'\n' { b'\n' } else { *masked }).collect();
        let range = &planted.secrets[0];
        prop_assert_eq!(String::from_utf8_lossy(&out[range.clone()]), String::from_utf8_lossy(&expected[range.clone()]));
        prop_assert_eq!(out.len(), planted.text.len());
        prop_assert_eq!(redact(&mut Redactor::new(known.as_ref()), [&planted.text[..]]), out);
    }
}

#[test]
fn lines_of_others_between_those_of_a_key_stay_readable() {
    let event = "time=\"2026-11-23T17:01:49Z\" level=info msg=\"Building Kubernetes cluster\"\n";
    let (one, two) = ("M".repeat(64), "Q".repeat(20));
    let text = format!("-----BEGIN PRIVATE KEY-----\n{one}\n{event}{two}\n{event}no end comes\n{event}");
    let expected = text.replace(&one, &"*".repeat(64)).replace(&two, &"*".repeat(20));
    assert_eq!(super::text(&text), expected);
}

#[test]
fn what_is_known_to_be_no_secret_stays_where_a_value_might_go_on() {
    for text in [
        "secret:\n  secretName: web-tls\n  optional: true\n",
        "user=x password=* host=db port=5432\n",
        "http://127.0.0.1:5000/rancher/x@sha256:9f86d081884c7d65\n",
        "pull 127.0.0.1:5999/rancher/x:v1, then https://example.org/a/b@c\n",
        "password: *******\nuser: robot\n  - name: other\n",
        "- token: *\n- name: b\n  kind: c\n",
    ] {
        assert_eq!(super::text(text), text);
    }
    let folded = "a:\n  password: |\n    one two\n\n    three\n  user: robot\n";
    let masked = "a:\n  password: |\n    *******\n\n    *****\n  user: robot\n";
    assert_eq!(super::text(folded), masked);
}

#[test]
fn a_key_that_never_ends_is_not_awaited_for_ever() {
    let other = "x: the rest of the output\n".repeat(1_000);
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n{other}{}\n", "M".repeat(64), "Q".repeat(64));
    let masked = super::text(&text);
    assert!(masked.ends_with(&format!("{other}{}\n", "Q".repeat(64))) && !masked.contains('M'));
}

#[test]
fn what_ends_before_it_is_decided_is_masked_when_it_is_long_enough_to_matter() {
    for (text, expected) in [
        ("id AKIAABCDEFGHIJKLMNO", "id AKIA***************"),
        ("eyJabc", "eyJabc"),
        ("http://10.0.0.1:5000", "http://10.0.0.1:5000"),
        ("http://u:geheim!", "http://u:*******"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc", "-----BEGIN PRIVATE KEY-----\n******"),
        ("password: a\\", "password: **"),
        ("password: 'a'", "password: '*'"),
    ] {
        assert_eq!(super::text(text), expected);
    }
    let known = KnownSecrets::of(&[Login { user: None, password: Secret::new("hunter2-canary") }]);
    let redact = |text: &[u8]| String::from_utf8(redact(&mut Redactor::new(known.as_ref()), [text])).unwrap();
    assert_eq!((redact(b"x hunter2-can"), redact(b"x hun")), ("x ***********".into(), "x hun".into()));
}

#[test]
fn a_line_and_a_prompt_pass_at_once() {
    let mut redactor = Redactor::new(None);
    for line in LINES {
        assert_eq!(redactor.pass(line.as_bytes()), line.as_bytes());
    }
    assert_eq!(redactor.pass(b"Are you sure [y/n]: "), b"Are you sure [y/n]: ");
    assert_eq!(redactor.pass(b"the key is AKIA1234"), b"the key is AKIA", "what may be a secret waits");
    assert_eq!(redactor.pass(b" and no more"), b"1234 and no more");
}

#[test]
fn hostile_row_71_a_line_without_end_is_masked_in_bounded_memory() {
    let mut redactor = Redactor::new(None);
    let chunk = [b'A'; 8 * 1024];
    assert_eq!(redactor.pass(b"password: "), b"password: ");
    for _ in 0..256 {
        assert_eq!(redactor.pass(&chunk).len(), chunk.len());
    }
    assert!(redactor.buffer.capacity() < 64 * 1024);
}
