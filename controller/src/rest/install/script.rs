//! The script with a controller's values: `deploy/install.sh`, whose block of empty values is replaced.
//!
//! Every value is quoted for the shell here; nothing of a request is among them.

use std::fmt::Write as _;

use cratekube_common::runtime::tls::sha256_hex;

use super::binaries::Binary;
use super::{Offer, Shown};

const TEMPLATE: &str = include_str!("../../../../deploy/install.sh");
const UNIT: &str = include_str!("../../../../deploy/systemd/cratekube-agent.service");
const BEGIN: &str = "# --- filled in by the controller ---\n";
const END: &str = "# --- end ---\n";

/// The script.
pub(super) fn render(offer: &Offer, ca: &Shown, binaries: &[Binary]) -> String {
    let lines: Vec<String> = binaries.iter().map(|binary| format!("{} {}", binary.arch, binary.sha256)).collect();
    // What is not a package goes where programs of the administrator go.
    let unit = UNIT.trim_end().replace("/usr/bin/", "/usr/local/bin/");
    let values = [
        ("URL", offer.url.as_str()),
        ("CONTROLLER", &offer.agents),
        ("CA_SHA256", &ca.sha256),
        ("CA_PEM", ca.pem.trim_end()),
        ("TRUST", if offer.foreign_certificate { "system" } else { "own" }),
        ("VERSION", env!("CARGO_PKG_VERSION")),
        ("BINARIES", &lines.join("\n")),
        ("UNIT", &unit),
    ];
    let mut filled = String::new();
    for (name, value) in values {
        let _into_a_string = writeln!(filled, "{name}={}", quoted(value));
    }
    let (before, rest) = TEMPLATE.split_once(BEGIN).unwrap_or((TEMPLATE, ""));
    let (_empty, after) = rest.split_once(END).unwrap_or(("", rest));
    format!("{before}{BEGIN}{filled}{END}{after}")
}

/// A line for a shell that fetches the script, compares it with what it is now, and runs it. The server
/// need not be trusted for that: whoever shows this line has the checksum from us.
pub(super) fn one_line(offer: &Offer, script: &str, token: &str) -> String {
    let (url, sum) = (&offer.url, sha256_hex(script.as_bytes()));
    format!(
        "curl -fsSk {url}/install.sh -o install.sh && echo '{sum}  install.sh' | sha256sum -c --quiet && \
         sudo sh install.sh --token {token}"
    )
}

/// One word for a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_one_block_to_fill_in_and_every_value_has_a_place() {
        assert_eq!((TEMPLATE.matches(BEGIN).count(), TEMPLATE.matches(END).count()), (1, 1));
        let empty = TEMPLATE.split_once(BEGIN).unwrap().1.split_once(END).unwrap().0;
        let names = |text: &str| -> Vec<String> {
            text.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned()).collect()
        };
        let offer =
            Offer { url: "https://c:1".into(), agents: "c:2".into(), foreign_certificate: true, binaries: None };
        let shown = Shown { pem: "PEM".into(), sha256: "ab".repeat(32) };
        let script = render(&offer, &shown, &[]);
        for name in names(empty) {
            assert!(script.contains(&format!("\n{name}='")), "{name}");
        }
        assert!(script.contains("TRUST='system'") && script.contains("ExecStart=/usr/local/bin/cratekube-agent"));
        assert!(script.contains(r"Each run'\''s supervisor"), "quotes in the unit are kept");
    }

    #[test]
    fn nothing_gets_out_of_its_quotes() {
        assert_eq!(quoted("a'; rm -rf /; '"), r"'a'\''; rm -rf /; '\'''");
    }
}
