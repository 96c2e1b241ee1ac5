//! Reading the command line as rke's own library does.
//!
//! Global flags before the command, flags of the command after it, one dash or two. An unknown
//! flag prints the help and ends with exit 1; an unknown command goes to standard error with
//! exit 3. Only flags that rke knows are known here, even where they change nothing.

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The command in words, such as `cert rotate`; empty for none.
    pub(crate) command: String,
    pub(crate) quiet: bool,
    pub(crate) debug: bool,
    pub(crate) help: bool,
    pub(crate) version: bool,
    flags: Vec<(String, String)>,
}

impl Asked {
    /// Whether a flag without a value is set.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.value(flag).is_some_and(|value| value != "false")
    }

    /// The value of a flag.
    pub(crate) fn value(&self, flag: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(name, _)| name == flag).map(|(_, value)| value.as_str())
    }

    /// `--config`, with rke's default.
    pub(crate) fn config(&self) -> &str {
        self.value("config").unwrap_or("cluster.yml")
    }
}

/// Why a command line was not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Misuse {
    /// The command that was read so far, and what is wrong with a flag.
    Flag(String, String),
    /// No such command.
    Command(String),
}

const GLOBAL: [&str; 9] = ["debug", "d", "quiet", "q", "trace", "help", "h", "version", "v"];
const GROUPS: [&str; 4] = ["etcd", "cert", "encrypt", "util"];

/// A command, its flags with a value, its flags without.
type Command = (&'static str, &'static [&'static str], &'static [&'static str]);

const S3: &[&str] = &[
    "name",
    "config",
    "s3-endpoint",
    "s3-endpoint-ca",
    "access-key",
    "secret-key",
    "bucket-name",
    "region",
    "folder",
    "cert-dir",
];

const COMMANDS: [Command; 10] = [
    (
        "up",
        &["config", "dind-storage-driver", "dind-dns-server", "cert-dir"],
        &[
            "local",
            "dind",
            "update-only",
            "disable-port-check",
            "init",
            "custom-certs",
            "ssh-agent-auth",
            "ignore-docker-version",
        ],
    ),
    ("remove", &["config"], &["force", "local", "dind", "ssh-agent-auth", "ignore-docker-version"]),
    ("version", &["config"], &[]),
    (
        "config",
        &["name", "n", "version"],
        &["empty", "e", "print", "p", "system-images", "s", "list-version", "l", "all", "a"],
    ),
    ("etcd snapshot-save", S3, &["s3", "ssh-agent-auth", "ignore-docker-version"]),
    (
        "etcd snapshot-restore",
        S3,
        &["s3", "custom-certs", "use-local-state", "ssh-agent-auth", "ignore-docker-version"],
    ),
    ("cert rotate", &["config", "service"], &["rotate-ca", "ssh-agent-auth", "ignore-docker-version"]),
    ("util get-state-file", &["config"], &["ssh-agent-auth", "ignore-docker-version"]),
    ("util get-kubeconfig", &["config"], &["ssh-agent-auth", "ignore-docker-version"]),
    ("help", &[], &[]),
];

/// Understands the words after the program's name.
pub(crate) fn parse(words: &[String]) -> Result<Asked, Misuse> {
    let mut asked = Asked::default();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next_if(|word| word.starts_with('-')) {
        let (name, value) = split(word);
        if !GLOBAL.contains(&name) {
            return Err(undefined("", name));
        }
        let on = value != Some("false");
        match name {
            "debug" | "d" | "trace" => asked.debug = on,
            "quiet" | "q" => asked.quiet = on,
            "help" | "h" => asked.help = on,
            _ => asked.version = on,
        }
    }
    let Some(first) = words.next() else {
        asked.help |= !asked.version;
        return Ok(asked);
    };
    asked.command = match words.peek() {
        Some(second) if GROUPS.contains(&first) && !second.starts_with('-') => {
            let command = format!("{first} {second}");
            words.next();
            command
        }
        _ => first.to_owned(),
    };
    if matches!(asked.command.as_str(), "help" | "h") {
        asked.help = true;
        asked.command = words.next().unwrap_or_default().to_owned();
        return Ok(asked);
    }
    if GROUPS.contains(&asked.command.as_str()) {
        asked.help = true;
        return Ok(asked);
    }
    let Some((_, valued, bare)) = COMMANDS.iter().find(|(name, _, _)| *name == asked.command) else {
        let unknown = asked.command.rsplit(' ').next().unwrap_or_default();
        return Err(Misuse::Command(unknown.to_owned()));
    };
    while let Some(word) = words.next_if(|word| word.starts_with('-') && *word != "--") {
        let (name, value) = split(word);
        if matches!(name, "help" | "h") {
            asked.help = true;
        } else if bare.contains(&name) {
            let value = value.unwrap_or("true").to_owned();
            asked.flags.push((name.to_owned(), value));
        } else if valued.contains(&name) {
            let Some(value) = value.or_else(|| words.next()) else {
                return Err(Misuse::Flag(asked.command, format!("flag needs an argument: -{name}")));
            };
            asked.flags.push((name.to_owned(), value.to_owned()));
        } else {
            return Err(undefined(&asked.command, name));
        }
    }
    Ok(asked)
}

fn split(word: &str) -> (&str, Option<&str>) {
    let bare = word.trim_start_matches('-');
    match bare.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (bare, None),
    }
}

fn undefined(command: &str, flag: &str) -> Misuse {
    Misuse::Flag(command.to_owned(), format!("flag provided but not defined: -{flag}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Asked, Misuse> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn flags_are_read_in_every_spelling() {
        for line in ["up --config x.yml", "up -config x.yml", "up --config=x.yml"] {
            assert_eq!(parse_line(line).unwrap().config(), "x.yml", "{line}");
        }
        let asked = parse_line("--quiet remove --force").unwrap();
        assert!(asked.quiet && asked.has("force"));
        assert_eq!(asked.config(), "cluster.yml");
    }

    #[test]
    fn commands_in_two_words() {
        let asked = parse_line("cert rotate --rotate-ca").unwrap();
        assert_eq!(asked.command, "cert rotate");
        assert!(asked.has("rotate-ca"));
        assert!(parse_line("util").unwrap().help);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        assert_eq!(parse_line("up --nonsense"), Err(undefined("up", "nonsense")));
        assert_eq!(parse_line("nonsense"), Err(Misuse::Command("nonsense".to_owned())));
    }
}
