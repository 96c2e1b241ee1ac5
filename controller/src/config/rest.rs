//! `[rest]`: the listener for users.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use cratekube_common::intake::Field;
use ipnet::IpNet;

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
    /// `trusted_proxies`: networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Rest {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let default = SocketAddr::from((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT));
        let Some(mut o) = at.object() else {
            return Self {
                listen: default,
                names: super::default_names(),
                certificate: None,
                trusted_proxies: Vec::new(),
            };
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
        let trusted_proxies = o.field("trusted_proxies").items().unwrap_or_default();
        let trusted_proxies = trusted_proxies.iter().filter_map(network).collect();
        o.finish();
        Self { listen, names, certificate: pair, trusted_proxies }
    }
}

/// A network as `10.0.0.0/8`, or one address.
fn network(at: &Field<'_>) -> Option<IpNet> {
    let text = at.string()?;
    let read = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    at.check(read.map_err(|_| format!("{text:?} is not a network: write `10.0.0.0/8` or one address")))
}
