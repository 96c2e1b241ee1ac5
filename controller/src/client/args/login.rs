//! `cratekube login`.

use std::path::PathBuf;

use clap::Args;
use cratekube_common::domain::name::EnvironmentName;

use crate::client::address::Address;

/// Store where a controller is and how you prove who you are
///
/// The credential is an API key, which new tokens are made with as long as it is valid, or a token,
/// which is good until it ends. It is read from a file or standard input, or taken from `CK_API_KEY`
/// or `CK_TOKEN`, tried, and stored in a file that only you can read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cratekube login --address https://ck.internal:8443 --ca ca.pem --credential key.txt
  cratekube login --address https://ck.internal:8443 --ca-fingerprint 3f0c… -e prod < key.txt
  cratekube-controller token issue --subject me --grant admin:* |
    cratekube login --address https://localhost:8443 --ca data/ca.pem --profile local

A controller with a certificate from a public authority:
  cratekube login --address https://ck.example.com --ca /etc/ssl/certs/ca-certificates.crt")]
pub(in crate::client) struct Login {
    /// Where the controller is; port 443 when none is named
    #[arg(long, value_name = "URL")]
    pub(in crate::client) address: Option<Address>,
    /// The authority that its certificate comes from, PEM; or the controller's own `ca.pem`
    #[arg(long, value_name = "FILE")]
    pub(in crate::client) ca: Option<PathBuf>,
    /// SHA-256 of the controller's own authority: it is fetched, and kept when it is this one
    #[arg(long, value_name = "HEX", conflicts_with = "ca", value_parser = fingerprint)]
    pub(in crate::client) ca_fingerprint: Option<String>,
    /// File with an API key or a token; without it `CK_API_KEY`, `CK_TOKEN`, or standard input (`-`)
    #[arg(long, value_name = "FILE")]
    pub(in crate::client) credential: Option<PathBuf>,
    /// The environment that commands use when none is named
    #[arg(short, long, value_name = "NAME")]
    pub(in crate::client) environment: Option<EnvironmentName>,
}

/// A SHA-256 in hex, with or without colons.
fn fingerprint(text: &str) -> Result<String, String> {
    let hex: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    let whole = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if whole { Ok(hex) } else { Err("a fingerprint is a SHA-256: 64 hexadecimal digits".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_may_have_colons_and_capitals() {
        let plain = "0f".repeat(32);
        assert_eq!(fingerprint(&["0F"; 32].join(":")), Ok(plain.clone()));
        assert_eq!(fingerprint(&plain), Ok(plain));
        assert!(fingerprint("0f").is_err() && fingerprint(&"0g".repeat(32)).is_err());
    }
}
