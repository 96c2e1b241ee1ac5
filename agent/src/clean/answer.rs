//! What the script says of a host.

use crate::ssh::Output;
use crate::ssh::session::quote;

/// Most things that are kept of each kind.
const MOST_LISTED: usize = 200;

/// How root is had on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// The user is root.
    Root,
    /// `sudo` without a password.
    Sudo,
    /// A container of this image that enters the host's namespaces: who may use Docker is root.
    Docker(String),
}

impl Way {
    /// The command that reads the script.
    #[must_use]
    pub fn command(&self) -> String {
        match self {
            Self::Root => "sh -s".into(),
            Self::Sudo => "sudo -n sh -s".into(),
            Self::Docker(image) => format!(
                "docker run --rm -i --name cratekube-clean --privileged --net=host --pid=host {} nsenter -t 1 -m -u -n -i sh -s",
                crate::preflight::quoted(image)
            ),
        }
    }

    fn read(value: &str) -> Option<Self> {
        match value.split_once(' ') {
            None if value == "root" => Some(Self::Root),
            None if value == "sudo" => Some(Self::Sudo),
            Some(("docker", image)) if is_image(image) => Some(Self::Docker(image.into())),
            _ => None,
        }
    }
}

/// A name of an image and nothing that an option or a shell could make of it.
fn is_image(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"./:_-@".contains(&byte);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(plain)
}

/// Why nothing may be touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// The host carries another cluster.
    Foreign(String),
    /// Whose cluster it carries cannot be told.
    Untold(String),
}

/// What the script says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Why nothing may be touched.
    pub objection: Option<Objection>,
    /// How root is had.
    pub way: Option<Way>,
    /// What is there.
    pub there: Vec<String>,
    /// What was removed.
    pub removed: Vec<String>,
    /// What could not be removed, or was kept, and why.
    pub stays: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Whether the script came to its end.
    pub ended: bool,
    /// What came instead.
    pub said: String,
}

/// Reads the script's output; lines without the nonce are passed over.
#[must_use]
pub fn read(output: &Output, nonce: &str) -> Answer {
    let mut answer = Answer::default();
    let mark = format!("@{nonce} ");
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines() {
        let Some((key, value)) = line.split_once(&mark).and_then(|(_, said)| said.split_once('=')) else { continue };
        let note = |list: &mut Vec<String>| {
            if list.len() < MOST_LISTED {
                list.push(quote(value));
            }
        };
        match key {
            "objection" => answer.objection = Some(objection(value)),
            "way" => answer.way = Way::read(value.trim()),
            "there" => note(&mut answer.there),
            "removed" => note(&mut answer.removed),
            "stays" => note(&mut answer.stays),
            "note" => note(&mut answer.notes),
            "end" => answer.ended = true,
            _ => {}
        }
    }
    if !answer.ended {
        let errors = String::from_utf8_lossy(&output.stderr);
        let said = if errors.trim().is_empty() { text } else { errors };
        answer.said = if output.cut { "it prints without end".into() } else { quote(&said) };
    }
    answer
}

fn objection(value: &str) -> Objection {
    match value.split_once(' ') {
        Some(("foreign", why)) => Objection::Foreign(quote(why)),
        Some(("untold", why)) => Objection::Untold(quote(why)),
        // What is not understood is no leave to go on.
        _ => Objection::Untold(quote(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(stdout: &str) -> Answer {
        read(&Output { stdout: stdout.as_bytes().to_vec(), ..Output::default() }, "n")
    }

    #[test]
    fn answers_are_read_between_noise() {
        let found = answer("motd\n@n way=sudo\n@m removed=no\n> @n removed=/etc/cni\n@n stays=a\u{1b}b\n@n end=yes\n");
        assert_eq!(found.way, Some(Way::Sudo));
        assert_eq!((found.removed, found.stays), (vec!["/etc/cni".to_owned()], vec!["a\\u{1b}b".to_owned()]));
        assert!(found.ended && found.objection.is_none());
        assert!(!answer("@n removed=x\n").ended);
    }

    #[test]
    fn an_objection_that_is_not_understood_is_one_all_the_same() {
        assert!(
            matches!(answer("@n objection=foreign it is k3s\n").objection, Some(Objection::Foreign(why)) if why == "it is k3s")
        );
        assert!(matches!(answer("@n objection=\n").objection, Some(Objection::Untold(_))));
        assert!(matches!(answer("@n objection=fo\n").objection, Some(Objection::Untold(_))));
    }

    #[test]
    fn a_host_cannot_slip_a_command_into_the_way_to_root() {
        assert_eq!(
            answer("@n way=docker rancher/rke-tools:v0.1.80\n").way,
            Some(Way::Docker("rancher/rke-tools:v0.1.80".into()))
        );
        for hostile in
            ["docker --privileged", "docker a b", "docker $(reboot)", "docker a;b", "root; reboot", "rootx", "docker "]
        {
            assert_eq!(answer(&format!("@n way={hostile}\n")).way, None, "{hostile}");
        }
    }

    proptest! {
        #[test]
        fn no_output_makes_it_panic(noise in prop::collection::vec(any::<u8>(), 0..300), key in "[a-z]{0,10}", value in "\\PC{0,60}") {
            let mut stdout = noise;
            stdout.extend(format!("\n@n {key}={value}\n").as_bytes());
            let _either = read(&Output { stdout, ..Output::default() }, "n");
        }
    }
}
