//! `[rest]`: the listener for users.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use cratekube_common::intake::Field;

/// HTTPS where port 443 needs no privilege.
const DEFAULT_PORT: u16 = 8443;

/// The `[rest]` section.
#[derive(Debug, Clone)]
pub struct Rest {
    /// `listen`.
    pub listen: SocketAddr,
    /// `names`: what the own authority's certificate is made for.
    pub names: Vec<String>,
    /// `certificate` and `key`: PEM files of a certificate from elsewhere.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl Rest {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT));
        let Some(mut o) = at.object() else {
            return Self { listen: default, names: super::default_names(), certificate: None };
        };
        let listen = super::address(&o.field("listen"), default);
        let names = super::names(&o.field("names"));
        let (certificate, key) = (o.field("certificate"), o.field("key"));
        let pair = match (certificate.string(), key.string()) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (Some(_), None) => {
                key.error("is required when a certificate is given");
                None
            }
            (None, Some(_)) => {
                certificate.error("is required when a key is given");
                None
            }
            (None, None) => None,
        };
        o.finish();
        Self { listen, names, certificate: pair }
    }
}
