//! `[controller]`: where the controller is.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;

use super::Section;

/// Where the controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerSection {
    /// The address of its listener for agents. Its certificate must carry the host.
    pub address: Address,
}

impl ControllerSection {
    pub(super) fn read(section: &mut Section<'_>) -> Option<Self> {
        Some(Self { address: section.field("address").required().parse()? })
    }
}

/// A host and a port. The host is also the name that the controller's certificate must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// The name or IP address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The name that the other side's certificate must carry.
    ///
    /// # Errors
    /// When the host is neither a name nor an IP address; [`FromStr`] lets no such host in.
    pub fn server_name(&self) -> Result<ServerName<'static>, String> {
        ServerName::try_from(self.host.clone()).map_err(|_| format!("{:?} is not a host name", self.host))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not an address: write `host:port`, such as `controller.internal:7443`");
        let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
        let bracketed = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        if bracketed.is_none() && host.contains(':') {
            return Err(format!("{text:?} is ambiguous: write an IPv6 address in brackets, such as `[::1]:7443`"));
        }
        let host = bracketed.unwrap_or(host);
        let port: u16 = port.parse().map_err(|_| form())?;
        if port == 0 || ServerName::try_from(host).is_err() {
            return Err(form());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["localhost:7443", "10.0.0.1:1", "[::1]:65535", "a.b-c.d:443"] {
            let address: Address = good.parse().unwrap();
            assert_eq!(address.to_string(), good);
            assert!(address.server_name().is_ok());
        }
        for bad in ["", "a", ":1", "a:", "a:0", "a:70000", "::1:7443", "https://a:1", "a b:1", "a:1/x", "[::1]", "-:1"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
