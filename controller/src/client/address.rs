//! Where the controller is: `https://host[:port]`.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// What `https://` means when no port is named.
const HTTPS_PORT: u16 = 443;

/// The address of a controller's REST API. The host is also the name that its certificate must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The name or IP address, without brackets.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// What the header `Host` says.
    pub(super) fn authority(&self) -> String {
        let Self { host, port } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        if *port == HTTPS_PORT { host } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not an address: write `https://controller.internal:8443`");
        let rest = match text.split_once("://") {
            Some(("https", rest)) => rest,
            Some(("http", _)) => return Err("plain http is never used: write `https://…`".into()),
            Some(_) => return Err(form()),
            None => text,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(form)?)),
            None => rest.rsplit_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
        };
        let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse::<u16>().ok()).flatten();
        let port = port.map_or(Some(HTTPS_PORT), digits).filter(|port| *port != 0).ok_or_else(form)?;
        ServerName::try_from(host).map_err(|_| form())?;
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_a_host_and_perhaps_a_port() {
        for (text, shown) in [
            ("https://ck.internal:8443", "https://ck.internal:8443"),
            ("https://ck.internal/", "https://ck.internal"),
            ("localhost:1", "https://localhost:1"),
            ("https://[::1]:9", "https://[::1]:9"),
            ("[::1]", "https://[::1]"),
            ("10.0.0.1", "https://10.0.0.1"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for bad in
            ["", "http://a", "ftp://a", "https://", "a:0", "a:65536", "a:+1", "a/b", "user@a", "::1", "[::1]x", "a b"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
