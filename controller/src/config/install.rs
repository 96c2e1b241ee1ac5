//! `[install]`: what `GET /install.sh` offers to new bastions.

use std::path::PathBuf;

use cratekube_common::intake::Field;

/// The `[install]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstallSection {
    /// `agent_binaries`: the folder with `cratekube-agent-<arch>`, `<arch>` as `uname -m` prints it.
    /// Nothing is offered without it.
    pub agent_binaries: Option<PathBuf>,
    /// `url`: of the REST API, as bastions reach it. Made of `rest.names` and the port when not set.
    pub url: Option<String>,
    /// `agents`: host and port of the listener for agents, as bastions reach it. Made of `agents.names`
    /// and the port when not set.
    pub agents: Option<String>,
}

impl InstallSection {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let Some(mut o) = at.object() else { return Self::default() };
        let agent_binaries = o.field("agent_binaries").string().map(PathBuf::from);
        let url = o.field("url");
        let url = url.string().and_then(|text| url.check(base(text)));
        let agents = o.field("agents");
        let agents = agents.string().and_then(|text| agents.check(place(text).map(ToOwned::to_owned)));
        o.finish();
        Self { agent_binaries, url, agents }
    }
}

/// The beginning of all addresses, without a slash at its end.
fn base(text: &str) -> Result<String, String> {
    let form = || format!("{text:?} is no address of the API: write `https://controller.example:8443`");
    let rest = text.strip_suffix('/').unwrap_or(text).strip_prefix("https://").ok_or_else(form)?;
    let host = rest.split('/').next().unwrap_or_default();
    let fine = |c: char| c.is_ascii_alphanumeric() || "-._~[]:/".contains(c);
    if host.is_empty() || !rest.chars().all(fine) || rest.contains("//") {
        return Err(form());
    }
    Ok(format!("https://{rest}"))
}

/// A host and a port.
fn place(text: &str) -> Result<&str, String> {
    let form = || format!("{text:?} is no host and port: write `controller.example:7443`");
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let fine = |c: char| c.is_ascii_alphanumeric() || "-.[]:".contains(c);
    let port: u16 = port.parse().map_err(|_| form())?;
    if host.is_empty() || port == 0 || !host.chars().all(fine) { Err(form()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_script_is_only_an_address() {
        assert_eq!(base("https://c.example:8443/").unwrap(), "https://c.example:8443");
        assert_eq!(base("https://[::1]:8443/api").unwrap(), "https://[::1]:8443/api");
        for bad in ["http://c", "https://", "https://c'", "https://c$(x)", "https://c d", "https://c//x", "c:8443"] {
            assert!(base(bad).is_err(), "{bad}");
        }
        assert!(place("c.example:7443").is_ok() && place("[::1]:7443").is_ok());
        for bad in ["c", ":1", "c:0", "c:x", "c'd:1", "c:70000", "a b:1"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
