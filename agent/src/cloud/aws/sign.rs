//! Signature version 4: proof that a request comes from who has the secret key.
//!
//! Only the one form of request that is sent here: a form posted to `/`, without a query.

use aws_lc_rs::hmac;
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::tls::sha256_hex;
use data_encoding::HEXLOWER;

use super::credentials::Credentials;

/// The type of every body that is sent.
pub(super) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    /// As the header `host` says it.
    pub(super) host: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a str,
}

/// The headers that a request has to carry, beside `host` and `content-type`.
pub(super) fn headers(request: Request<'_>, who: &Credentials, at: Timestamp) -> Vec<(&'static str, String)> {
    let (date, time) = stamps(at);
    let mut signed = vec![
        ("content-type", request.content_type.to_owned()),
        ("host", request.host.to_owned()),
        ("x-amz-date", format!("{date}T{time}Z")),
    ];
    signed.extend(who.session.as_ref().map(|token| ("x-amz-security-token", token.expose().to_owned())));
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256_hex(request.body.as_bytes()));
    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}T{time}Z\n{scope}\n{}", sha256_hex(canonical.as_bytes()));
    let first = format!("AWS4{}", who.secret.expose());
    let parts = [date.as_str(), request.region, request.service, "aws4_request"];
    let key = parts.iter().fold(first.into_bytes(), |key, part| mac(&key, part));
    let signature = HEXLOWER.encode(&mac(&key, &to_sign));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", who.id);
    signed.retain(|(name, _)| name.starts_with("x-amz-"));
    signed.push(("authorization", authorization));
    signed
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Date and time as the signature has them: `20150830`, `123600`.
fn stamps(at: Timestamp) -> (String, String) {
    // `2015-08-30T12:36:00.000Z`
    let text = at.to_string();
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).collect::<String>();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    (digits(date), digits(time.split('.').next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cratekube_common::domain::secret::Secret;

    fn who(session: Option<&str>) -> Credentials {
        Credentials {
            id: "AKIDEXAMPLE".into(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session: session.map(Secret::new),
            until: None,
        }
    }

    /// "post-x-www-form-urlencoded" of the test suite that AWS published for this signature.
    #[test]
    fn a_form_is_signed_as_the_published_example_is() {
        let request = Request {
            service: "service",
            region: "us-east-1",
            host: "example.amazonaws.com",
            content_type: "application/x-www-form-urlencoded",
            body: "Param1=value1",
        };
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let headers = headers(request, &who(None), at);
        assert_eq!(headers[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        let (name, value) = &headers[1];
        assert_eq!(*name, "authorization");
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
            SignedHeaders=content-type;host;x-amz-date, \
            Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        assert_eq!(value, expected);
    }

    #[test]
    fn a_session_token_is_sent_and_signed() {
        let request = Request { service: "ec2", region: "r", host: "h", content_type: FORM, body: "" };
        let headers = headers(request, &who(Some("token")), Timestamp::from_millis(0));
        assert_eq!(headers[1], ("x-amz-security-token", "token".to_owned()));
        assert!(headers[2].1.contains("SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"));
    }
}
