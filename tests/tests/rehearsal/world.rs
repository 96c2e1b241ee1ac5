//! A directory with an installed rehearsal, and the comparison with recordings.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use cratekube_tests::rehearsal::console::{Level, parse_line};
use cratekube_tests::rehearsal::control::Rehearsal;

pub(crate) const ONE: &str = "172.30.0.11";
pub(crate) const TWO: &str = "172.30.0.12";
pub(crate) const THREE: &str = "172.30.0.13";

/// A node that does everything.
pub(crate) fn all(address: &str) -> String {
    node(address, "controlplane, etcd, worker")
}

pub(crate) fn worker(address: &str) -> String {
    node(address, "worker")
}

pub(crate) fn node(address: &str, roles: &str) -> String {
    let name = match address.strip_prefix("172.30.0.1") {
        Some(number) => format!("node{number}"),
        None => "node1".to_owned(),
    };
    format!("- {{address: {address}, user: rke, role: [{roles}], hostname_override: {name}}}\n")
}

/// The cluster.yml of the recordings.
pub(crate) fn config(nodes: &[String]) -> String {
    format!(
        "cluster_name: lab\nnodes:\n{}network: {{plugin: none}}\ndns: {{provider: none}}\n\
         ingress: {{provider: none}}\nmonitoring: {{provider: none}}\n",
        nodes.concat()
    )
}

pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) rke: Rehearsal,
}

impl World {
    pub(crate) fn new(config: &str) -> World {
        let dir = tempfile::tempdir().unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_rke-rehearsal"));
        let rke = Rehearsal::install(&dir.path().join("bin"), binary).unwrap();
        std::fs::create_dir(dir.path().join("work")).unwrap();
        let world = World { dir, rke };
        world.write("cluster.yml", config);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("work").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(self.rke.program());
        command.args(line.split_whitespace()).current_dir(self.path("")).env_clear().stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Told {
        Told::of(&self.command(line).output().unwrap())
    }
}

/// What one run told.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
    pub(crate) stderr: String,
}

impl Told {
    pub(crate) fn of(output: &Output) -> Told {
        Told {
            code: output.status.code(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Told {
        assert_eq!(self.code, Some(code), "{}{}", self.text, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, what: &str) -> Told {
        assert!(self.text.contains(what), "no {what:?} in:\n{}", self.text);
        self
    }

    /// Line by line the same as the recording.
    #[track_caller]
    pub(crate) fn equals(self, recording: &str) {
        let (code, recorded) = load(recording);
        assert_eq!(self.code, Some(code), "{}", self.text);
        let (told, recorded) = (lines(&self.text), lines(&recorded));
        for (number, (told, recorded)) in told.iter().zip(&recorded).enumerate() {
            assert_eq!(told, recorded, "line {} of {recording}", number + 1);
        }
        assert_eq!(told.len(), recorded.len(), "{recording}");
    }

    /// Phase by phase the same as the recording. Within a phase rke works on its hosts at once,
    /// in any order, and polls as long as a container happens to run.
    #[track_caller]
    pub(crate) fn resembles(self, recording: &str) {
        let (code, recorded) = load(recording);
        assert_eq!(self.code, Some(code), "{}", self.text);
        let (told, recorded) = (phases(&self.text), phases(&recorded));
        for (told, recorded) in told.iter().zip(&recorded) {
            assert_eq!(told, recorded, "{recording}");
        }
        assert_eq!(told.len(), recorded.len(), "{recording}");
    }
}

fn load(recording: &str) -> (i32, String) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(recording);
    let text = std::fs::read_to_string(dir.join("stdout")).unwrap();
    let code = std::fs::read_to_string(dir.join("exit")).unwrap();
    (code.trim().parse().unwrap(), text)
}

/// Level and message of every line but the rehearsal's own.
fn lines(text: &str) -> Vec<(Option<Level>, String)> {
    text.lines()
        .filter(|line| !line.contains("REHEARSAL"))
        .map(|line| match parse_line(line) {
            Some((level, message)) => (Some(level), message),
            None => match line.split_once("time=\"") {
                // A prompt, and the event that shares its line.
                Some((prompt, event)) => (None, format!("{prompt}{}", &event[22..])),
                None => (None, line.to_owned()),
            },
        })
        .map(|(level, message)| (level, without_chance(&message)))
        .collect()
}

/// Takes out what differs between any two runs: our version, and numbers in temporary names.
fn without_chance(message: &str) -> String {
    let message = message.replace("v1.2.23-rehearsal", "v1.2.23");
    let mut calm = String::new();
    for (index, part) in message.split("/kube_config").enumerate() {
        calm.push_str(if index == 0 { "" } else { "/kube_config" });
        calm.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    match calm.split_once("/rkestate") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{before}/rkestate{after}")
        }
        None => calm,
    }
}

type Phase = (String, Vec<String>);

fn phases(text: &str) -> Vec<Phase> {
    let mut phases: Vec<Phase> = vec![(String::new(), Vec::new())];
    for (_, message) in lines(text) {
        if message.contains("is still running") {
            continue;
        }
        let on_a_host = [ONE, TWO, THREE].iter().any(|host| message.contains(host));
        match phases.last_mut() {
            Some((_, events)) if on_a_host => events.push(message),
            _ => phases.push((message, Vec::new())),
        }
    }
    for (_, events) in &mut phases {
        events.sort();
        // How often rke asks whether a container has ended is chance.
        let mut last = String::new();
        events.retain(|event| {
            let again = *event == last && event.starts_with("Waiting for");
            last.clone_from(event);
            !again
        });
    }
    phases
}
