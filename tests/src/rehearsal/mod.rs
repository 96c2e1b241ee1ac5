//! The rehearsal of rke: a program that stands in for Rancher's `rke` in tests and demonstrations.
//!
//! It has the same command line, output, exit codes, files and (scaled) timing as the real one,
//! and the same faults, as far as they were recorded (`tests/captures`). It contacts nobody: hosts
//! are a model in a directory, the [`fleet`], so that a fault in one run has its consequence in
//! the next. It says so in its first line, and in its version.
//!
//! Invariants: everything it is told comes from a file beside its own name, never from the
//! environment; it handles no signal; it writes its state file as carelessly as rke does.
//!
//! One run: [`fn@run`] reads the settings, `cli` the command line, `spec` the cluster.yml; `up`,
//! `remove`, `upkeep` and `util` are the commands; all output goes through `stage`. Tests drive
//! it through [`control`]. Not here: Kubernetes itself, SSH, debug and trace output.

mod addons;
mod captures;
mod catalogue;
mod cli;
pub mod clock;
pub mod console;
mod container;
pub mod control;
mod deploy;
mod dial;
pub mod fault;
pub mod fleet;
pub mod journal;
mod keys;
mod pki;
mod planes;
mod ports;
mod pull;
mod reconcile;
mod remove;
mod run;
pub mod settings;
mod spec;
mod stage;
mod state;
mod up;
mod upkeep;
mod util;

use std::io::Write;
use std::path::Path;

use self::captures::departure;
use self::catalogue::VERSION;
use self::cli::{Asked, Misuse};
use self::console::Console;
use self::fault::{Armed, Kind};
use self::fleet::Fleet;
use self::journal::{Invocation, Opening};
use self::run::Run;
use self::settings::Settings;
use self::spec::{Refusal, Spec};
use self::stage::{Options, Stage, Stop};
use self::state::Paths;

pub use self::captures::names as recorded_failures;

/// The settings are unusable; rke itself never ends so.
const MISCONFIGURED: u8 = 64;

const CONFESSION: &str = "REHEARSAL: this is not rke. No host is contacted and no cluster is \
                          built; recorded behaviour is replayed.";

/// Plays one run of rke; the result is the exit code.
#[must_use]
pub fn run(argv: &[String], start_ns: u128) -> u8 {
    let program = argv.first().map_or("rke", String::as_str);
    let (settings, fleet) = match Settings::beside(Path::new(program)) {
        Ok(found) => found,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "rehearsal of rke: {error}");
            return MISCONFIGURED;
        }
    };
    let fleet = Fleet::open(&fleet);
    match cli::parse(argv.get(1..).unwrap_or_default()) {
        Ok(asked) => attend(argv, start_ns, &settings, &fleet, &asked),
        Err(misuse) => complain(&fleet, misuse),
    }
}

fn complain(fleet: &Fleet, misuse: Misuse) -> u8 {
    let console = Console::stdout(false, false);
    let mut stage = Stage::new(console, 0.0, fleet.clone(), Armed::new(&[], "", None));
    match misuse {
        Misuse::Command(word) => {
            let _ = writeln!(std::io::stderr(), "No help topic for '{word}'");
            3
        }
        Misuse::Flag(command, problem) => {
            let help = captures::help(&command);
            let Stop(code) = stage
                .raw(format!("Incorrect Usage: {problem}\n\n{help}").as_bytes())
                .err()
                .unwrap_or_else(|| stage.fatal(0, &problem));
            code
        }
    }
}

/// One understood invocation: the books, then the play.
fn attend(argv: &[String], start_ns: u128, settings: &Settings, fleet: &Fleet, asked: &Asked) -> u8 {
    let paths = Paths::of(asked.config());
    let yaml = std::fs::read(&paths.config);
    let parsed = yaml.as_ref().ok().map(|bytes| Spec::parse(&String::from_utf8_lossy(bytes)));
    let cluster = parsed.as_ref().and_then(|spec| spec.as_ref().ok()).map(|spec| spec.name.clone());
    let mut faults = Armed::new(&settings.faults, &asked.command, cluster.as_deref());
    faults.place_failures(departure);
    let console = Console::stdout(asked.quiet, asked.debug);
    let mut stage = Stage::new(console, settings.scale, fleet.clone(), faults);
    leave_marks(&mut stage, start_ns);
    let opening =
        Opening { argv, command: &asked.command, start_ns, cluster: cluster.as_deref(), config: yaml.as_deref().ok() };
    let invocation = match Invocation::begin(fleet, &opening) {
        Ok(invocation) => invocation,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "rehearsal of rke: cannot write {}: {error}", fleet.root().display());
            return MISCONFIGURED;
        }
    };
    let played = play(&mut stage, asked, &paths, yaml, parsed);
    let Stop(code) = played.err().unwrap_or(Stop(0));
    let _ = invocation.end(code);
    code
}

/// Marks for those who measure or hunt processes.
fn leave_marks(stage: &mut Stage, start_ns: u128) {
    while let Some(kind) = stage.take_fault(|kind| matches!(kind, Kind::StartMarker { .. })) {
        if let Kind::StartMarker { path } = kind {
            let _ = std::fs::write(path, start_ns.to_string());
        }
    }
    while let Some(kind) = stage.take_fault(|kind| matches!(kind, Kind::PidFile { .. })) {
        if let Kind::PidFile { path } = kind {
            let _ = std::fs::write(path, std::process::id().to_string());
        }
    }
}

fn play(
    stage: &mut Stage,
    asked: &Asked,
    paths: &Paths,
    yaml: std::io::Result<Vec<u8>>,
    parsed: Option<Result<Spec, Refusal>>,
) -> Result<(), Stop> {
    if asked.version {
        return stage.raw(format!("rke version {VERSION}\n").as_bytes());
    }
    if asked.help {
        return stage.raw(captures::help(&asked.command).as_bytes());
    }
    if asked.command == "config" {
        return config(stage, asked);
    }
    stage.warn(0, CONFESSION)?;
    if !asked.command.starts_with("util") {
        stage.say(100, &format!("Running RKE version: {VERSION}"))?;
    }
    if asked.command == "remove" && !asked.has("force") {
        remove::confirm(stage)?;
    }
    let spec = match (parsed, yaml) {
        (Some(Ok(spec)), _) => spec,
        (Some(Err(Refusal(why))), _) => return Err(stage.fatal(1, &why)),
        (None, yaml) => {
            let why = yaml.err().map_or_else(String::new, |error| state::go_error(&error));
            let config = paths.absolute_config();
            return Err(stage.fatal(
                1,
                &format!(
                    "Failed to resolve cluster file: can not find cluster configuration file: \
                     open {}: {why}",
                    config.display()
                ),
            ));
        }
    };
    command(stage, asked, paths, spec)
}

fn config(stage: &mut Stage, asked: &Asked) -> Result<(), Stop> {
    if asked.has("list-version") || asked.has("l") {
        return util::list_versions(stage, asked.has("all") || asked.has("a"));
    }
    if asked.has("system-images") || asked.has("s") {
        return util::system_images(stage, asked.value("version"));
    }
    stage.raw(b"[+] Cluster Level SSH Private Key Path [~/.ssh/id_rsa]: ")?;
    Err(stage.fatal(0, "EOF"))
}

fn command(stage: &mut Stage, asked: &Asked, paths: &Paths, spec: Spec) -> Result<(), Stop> {
    match asked.command.as_str() {
        "up" | "cert rotate" => stage.say(5, "Initiating Kubernetes cluster")?,
        "remove" => stage.say(1, "Tearing down Kubernetes cluster")?,
        _ => {}
    }
    let (spec, images) = spec.judge().map_err(|Refusal(why)| stage.fatal(1, &why))?;
    stage.addresses = spec.nodes.iter().map(|node| node.address.clone()).collect();
    let options = Options {
        images,
        ignore_docker_version: asked.has("ignore-docker-version"),
        disable_port_check: asked.has("disable-port-check"),
    };
    let mut run = Run::new(stage, spec.clone(), &options, paths);
    match asked.command.as_str() {
        "up" => up::up(stage, spec, &options, paths),
        "remove" => remove::remove(stage, &spec, &options, paths),
        "cert rotate" => run.rotate(asked.has("rotate-ca")),
        "etcd snapshot-save" => run.save_snapshot(asked.value("name")),
        "etcd snapshot-restore" => {
            let name = asked.value("name").unwrap_or_default();
            run.prepare_restore(name)?;
            stage.say(25, "Initiating Kubernetes cluster")?;
            up::up(stage, spec, &options, paths)?;
            stage.say(1, "Restarting network, ingress, and metrics pods")?;
            stage.say(427, &format!("Finished restoring snapshot [{name}] on all etcd hosts"))
        }
        "util get-state-file" => run.get_state_file(),
        "util get-kubeconfig" => run.get_kubeconfig(),
        _ => run.server_version(),
    }
}
