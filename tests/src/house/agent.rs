//! An agent process with its state directory and volume.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::process::{Process, output};

/// An agent, running or not.
#[derive(Debug)]
pub struct AgentHost {
    program: PathBuf,
    config: PathBuf,
    volume: PathBuf,
    /// The process, while it runs.
    pub process: Process,
}

/// What an agent is started with.
#[derive(Debug, Clone)]
pub struct AgentPlan<'a> {
    /// The program.
    pub program: &'a Path,
    /// A folder of its own.
    pub dir: &'a Path,
    /// Its name.
    pub name: &'a str,
    /// Its volume; initialised when it is not there.
    pub volume: &'a Path,
    /// The `rke` it runs.
    pub rke: &'a Path,
    /// More settings of its `rke`.
    pub rke_settings: &'a str,
    /// The proxy through which it reaches the clusters' APIs.
    pub kubernetes_proxy: &'a str,
    /// How long it waits for them.
    pub ready_timeout: &'a str,
    /// More sections of its settings.
    pub settings: &'a str,
    /// Where the controller is, as seen from here.
    pub controller: SocketAddr,
    /// Filter of its log.
    pub log: &'a str,
}

impl AgentHost {
    /// Initialises the volume, enrolls and starts an agent.
    ///
    /// # Errors
    /// When it does not get connected.
    pub async fn start(plan: AgentPlan<'_>, join_token: &str) -> anyhow::Result<Self> {
        let config = plan.dir.join("agent.toml");
        let (state, key) = (plan.dir.join("agent-state"), plan.dir.join("id_ed25519"));
        std::fs::create_dir_all(plan.dir)?;
        write_private(&key, "not read by the rehearsal\n")?;
        let text = format!(
            "[controller]\naddress = \"localhost:{port}\"\n[agent]\nname = {name:?}\nstate_dir = {state:?}\nslots = 4\n\
             [volumes]\npaths = [{volume:?}]\nrequire_mount = false\n[rke]\npath = {rke:?}\n{more}\n[ssh]\nkey = {key:?}\npreflight = false\nclean_hosts = false\n\
             [kubernetes]\nproxy = {proxy:?}\nrequest_timeout = \"10s\"\nready_timeout = {ready:?}\n[log]\nfilter = {log:?}\n{settings}\n",
            port = plan.controller.port(),
            name = plan.name,
            volume = plan.volume,
            rke = plan.rke,
            more = plan.rke_settings,
            proxy = plan.kubernetes_proxy,
            ready = plan.ready_timeout,
            settings = plan.settings,
            log = plan.log,
        );
        std::fs::write(&config, text)?;
        if !plan.volume.join("volume.json").exists() {
            std::fs::create_dir_all(plan.volume)?;
            run(plan.program, &config, &["init-volume", "--path", &plan.volume.to_string_lossy()]).await?;
        }
        let token_file = plan.dir.join("join-token");
        write_private(&token_file, join_token)?;
        run(plan.program, &config, &["enroll", "--token-file", &token_file.to_string_lossy()]).await?;
        let process = launch(plan.program, &config, &[])?;
        process.line("in session with the controller").await?;
        Ok(Self { program: plan.program.to_owned(), config, volume: plan.volume.to_owned(), process })
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.restart_with(&[])
    }

    /// Starts it again, with variables of the environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart_with(&mut self, env: &[(&str, &str)]) -> anyhow::Result<()> {
        self.process = launch(&self.program, &self.config, env)?;
        Ok(())
    }

    /// Enrols again under a new identity; it must not run.
    ///
    /// # Errors
    /// When the controller refuses.
    pub async fn enroll_again(&self, join_token: &str) -> anyhow::Result<()> {
        let token_file = self.config.with_file_name("join-token");
        write_private(&token_file, join_token)?;
        let token_file = token_file.to_string_lossy();
        run(&self.program, &self.config, &["enroll", "--force", "--token-file", &token_file]).await.map(|_| ())
    }

    /// Where its executable is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its settings file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its volume.
    #[must_use]
    pub fn volume(&self) -> &Path {
        &self.volume
    }

    /// A cluster's folder on its volume.
    #[must_use]
    pub fn cluster(&self, environment: &str, name: &str) -> PathBuf {
        self.volume.join("clusters").join(environment).join(name)
    }

    /// The folders of a cluster's runs, in the order in which they were assigned.
    ///
    /// # Errors
    /// When there are none.
    pub fn runs(&self, environment: &str, name: &str) -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(self.cluster(environment, name).join("runs"))?;
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
        runs.sort();
        Ok(runs)
    }

    /// Runs a sub-command with its configuration.
    ///
    /// # Errors
    /// When it fails.
    pub async fn command(&self, args: &[&str]) -> anyhow::Result<String> {
        run(&self.program, &self.config, args).await
    }
}

async fn run(program: &Path, config: &Path, args: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.env_clear().arg("--config").arg(config).args(args);
    output(command).await
}

fn launch(program: &Path, config: &Path, env: &[(&str, &str)]) -> anyhow::Result<Process> {
    let mut command = Command::new(program);
    command.env_clear().envs(env.iter().copied()).arg("--config").arg(config).arg("run");
    Process::start("agent", command)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    cratekube_common::runtime::files::write_atomic(path, text.as_bytes())
}
