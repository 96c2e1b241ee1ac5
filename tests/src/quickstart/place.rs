//! Where a quickstart lives: its folder, its processes, its `rke`.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use cratekube_common::runtime::files;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::Wish;
use crate::house::process::{PATIENCE, output};
use crate::rehearsal::control::Rehearsal;

/// Marks a folder as one that may be thrown away.
const MARK: &str = "quickstart.json";
/// Where it lives when nothing else is said: beside the programs.
const FOLDER: &str = "quickstart.run";
/// Part of the recorded time that the rehearsal takes: long enough to see it happen.
const REHEARSAL_SCALE: f64 = 0.1;

/// The folder of a quickstart.
#[derive(Debug)]
pub(crate) struct Place {
    dir: PathBuf,
    programs: PathBuf,
}

impl Place {
    pub(crate) fn at(dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let programs = std::env::current_exe()?.parent().context("no folder of programs")?.to_owned();
        let dir = dir.unwrap_or_else(|| programs.join(FOLDER));
        Ok(Self { dir: std::path::absolute(dir)?, programs })
    }

    /// Makes the folder anew; refuses one that is in use or not ours.
    pub(crate) fn prepare(&self) -> anyhow::Result<()> {
        ensure!(
            self.running().is_empty(),
            "one is running already in {}; stop it: deploy/quickstart stop",
            self.dir.display()
        );
        if self.dir.exists() {
            ensure!(
                self.dir.join(MARK).exists(),
                "{} exists and is not a quickstart's; name another with --dir",
                self.dir.display()
            );
            std::fs::remove_dir_all(&self.dir)?;
        }
        files::make_dir(&self.dir)?;
        files::write_atomic(&self.dir.join(MARK), b"{}")?;
        Ok(())
    }

    /// The real `rke` when it is there and has hosts, the rehearsal otherwise.
    pub(crate) fn choose_rke(&self, wish: &Wish, out: &mut impl Write) -> anyhow::Result<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let real = std::env::split_paths(&path).map(|dir| dir.join("rke")).find(|rke| rke.is_file());
        if !wish.nodes.is_empty() {
            return real.context("--node needs the real rke on the PATH");
        }
        let why = if real.is_some() { "no --node was named for the real rke" } else { "there is no rke on the PATH" };
        writeln!(
            out,
            "*** REHEARSAL: {why}. A stand-in replays what rke does; no host is contacted, no cluster is built. ***"
        )?;
        let binary = self.programs.join("rke-rehearsal");
        let mut rehearsal = Rehearsal::install(&self.dir.join("bin"), &binary)?;
        rehearsal.scale(REHEARSAL_SCALE)?;
        let mut clusters = Command::new(self.programs.join("cluster-api"));
        clusters.env_clear().arg(rehearsal.fleet().root()).arg(self.proxy_note());
        self.detach("clusters", clusters)?;
        Ok(rehearsal.program().to_owned())
    }

    /// Starts the controller and waits until it listens.
    pub(crate) async fn start_controller(&self) -> anyhow::Result<()> {
        let config = format!(
            "[data]\ndirectory = {:?}\n[rest]\nlisten = \"127.0.0.1:0\"\n[agents]\nlisten = \"127.0.0.1:0\"\n",
            self.data()
        );
        std::fs::write(self.dir.join("controller.toml"), config)?;
        self.detach("controller", self.controller(&["serve"]).into_std())?;
        self.printed("controller", "controller ready").await
    }

    /// Initialises a volume, enrolls and starts the agent.
    pub(crate) async fn start_agent(&self, rke: &Path, ssh_key: Option<&Path>) -> anyhow::Result<()> {
        let (volume, state) = (self.volume(), self.dir.join("agent-state"));
        let key = match ssh_key {
            Some(key) => std::fs::canonicalize(key).with_context(|| format!("cannot read {}", key.display()))?,
            None => self.dir.join("no-ssh-key"),
        };
        if ssh_key.is_none() {
            files::write_atomic(&key, b"the rehearsal contacts no host\n")?;
        }
        // The rehearsal's hosts are not there to be looked at.
        let steps = if ssh_key.is_none() { "preflight = false\nclean_hosts = false\n" } else { "" };
        let port = self.listening("agents")?.port();
        let proxy = self.kubernetes().await?;
        let config = format!(
            "[controller]\naddress = \"localhost:{port}\"\n[agent]\nname = \"quickstart\"\nstate_dir = {state:?}\n\
             [volumes]\npaths = [{volume:?}]\nrequire_mount = false\n[rke]\npath = {rke:?}\n[ssh]\nkey = {key:?}\n{steps}{proxy}"
        );
        std::fs::write(self.dir.join("agent.toml"), config)?;
        files::make_dir(&volume)?;
        output(self.agent(&["init-volume", "--path", &volume.to_string_lossy()])).await?;
        let token = output(self.controller(&["agent", "join-token", "--agent", "quickstart"])).await?;
        let token_file = self.dir.join("join-token");
        files::write_atomic(&token_file, token.as_bytes())?;
        output(self.agent(&["enroll", "--token-file", &token_file.to_string_lossy()])).await?;
        self.detach("agent", self.agent(&["run"]).into_std())?;
        self.printed("agent", "in session with the controller").await
    }

    /// Settings of the agent that lead to the rehearsal's clusters; nothing for real ones.
    async fn kubernetes(&self) -> anyhow::Result<String> {
        if self.pid("clusters").is_none() {
            return Ok(String::new());
        }
        let mut timer = tokio::time::interval(std::time::Duration::from_millis(20));
        let noted = tokio::time::timeout(PATIENCE, async {
            while !self.proxy_note().exists() {
                timer.tick().await;
            }
        });
        noted.await.context("the rehearsal's clusters do not say where they are")?;
        Ok(format!("[kubernetes]\nproxy = {:?}\n", std::fs::read_to_string(self.proxy_note())?))
    }

    fn proxy_note(&self) -> PathBuf {
        self.dir.join("clusters.address")
    }

    /// Where one of the product's programs is.
    pub(crate) fn program_path(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A command of the controller.
    pub(crate) fn controller(&self, args: &[&str]) -> tokio::process::Command {
        self.program("cratekube-controller", "controller.toml", args)
    }

    fn agent(&self, args: &[&str]) -> tokio::process::Command {
        self.program("cratekube-agent", "agent.toml", args)
    }

    fn program(&self, name: &str, config: &str, args: &[&str]) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(self.program_path(name));
        command.env_clear().arg("--config").arg(self.dir.join(config)).args(args);
        command
    }

    /// Where the controller keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("controller-data")
    }

    /// The state volume.
    pub(crate) fn volume(&self) -> PathBuf {
        self.dir.join("volume")
    }

    /// The folder.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where users connect.
    pub(crate) fn rest(&self) -> anyhow::Result<SocketAddr> {
        self.listening("rest")
    }

    /// The controller's CA.
    pub(crate) fn ca(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.data().join("ca.pem"))?)
    }

    fn listening(&self, which: &str) -> anyhow::Result<SocketAddr> {
        let note: Value = serde_json::from_slice(&std::fs::read(self.data().join("listening.json"))?)?;
        note[which].as_str().context("the controller does not say where it listens")?.parse().context("not an address")
    }

    /// Starts a process that goes on when this one ends.
    fn detach(&self, name: &str, mut command: Command) -> anyhow::Result<()> {
        let log = File::create(self.log(name))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start the {name}"))?;
        files::write_atomic(&self.pid_file(name), child.id().to_string().as_bytes())?;
        Ok(())
    }

    async fn printed(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let mut timer = tokio::time::interval(std::time::Duration::from_millis(20));
        let looked = tokio::time::timeout(PATIENCE, async {
            loop {
                timer.tick().await;
                if std::fs::read_to_string(self.log(name)).is_ok_and(|log| log.contains(text)) {
                    return true;
                }
                if self.pid(name).is_none() {
                    return false;
                }
            }
        });
        if !looked.await.unwrap_or(false) {
            bail!("the {name} did not start:\n{}", std::fs::read_to_string(self.log(name)).unwrap_or_default());
        }
        Ok(())
    }

    /// Stops the processes, the agent first.
    pub(crate) fn stop(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let running = self.running();
        if running.is_empty() {
            writeln!(out, "nothing is running in {}", self.dir.display())?;
        }
        for (name, pid) in running {
            let gone = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
            rustix::process::kill_process(pid, Signal::TERM)?;
            let mut fds = [rustix::event::PollFd::new(&gone, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
            if rustix::event::poll(&mut fds, Some(&limit))? == 0 {
                rustix::process::kill_process(pid, Signal::KILL)?;
            }
            writeln!(out, "stopped the {name}")?;
        }
        Ok(())
    }

    fn running(&self) -> Vec<(&'static str, Pid)> {
        ["agent", "controller", "clusters"].into_iter().filter_map(|name| Some((name, self.pid(name)?))).collect()
    }

    /// The process that the pid file names, if it is still ours.
    fn pid(&self, name: &str) -> Option<Pid> {
        let pid: i32 = std::fs::read_to_string(self.pid_file(name)).ok()?.trim().parse().ok()?;
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let ours = String::from_utf8_lossy(&cmdline).contains(&*self.dir.to_string_lossy());
        ours.then(|| Pid::from_raw(pid)).flatten()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pid"))
    }
}
