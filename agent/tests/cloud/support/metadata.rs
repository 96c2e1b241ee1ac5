//! The metadata of an instance with a role, in their second version: who has no token is refused.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::wire::Message;

/// Starts them; they end with the test.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(request) = Message::read(&stream) else { continue };
            let (status, body) = answer(&request);
            let first = format!("HTTP/1.1 {status} x");
            let _gone = Message { first, headers: Vec::new(), body: body.to_owned() }.write(&stream);
        }
    });
    at
}

fn answer(request: &Message) -> (u16, &'static str) {
    let token = request.headers.iter().any(|(name, value)| name == "x-aws-ec2-metadata-token" && value == "T");
    match request.first.as_str() {
        "PUT /latest/api/token HTTP/1.1" => (200, "T"),
        _ if !token => (401, ""),
        "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1" => (200, "bastion"),
        "GET /latest/meta-data/iam/security-credentials/bastion HTTP/1.1" => {
            (200, r#"{"AccessKeyId": "K", "SecretAccessKey": "S", "Token": "T", "Expiration": "2099-01-01T00:00:00Z"}"#)
        }
        "GET /latest/meta-data/placement/region HTTP/1.1" => (200, "eu-central-1"),
        _ => (404, ""),
    }
}
