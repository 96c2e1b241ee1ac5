//! A controller process with its data directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::Command;

use super::process::{Process, output};
use super::rest::Client;

/// A controller, running or not.
#[derive(Debug)]
pub struct ControllerHost {
    program: PathBuf,
    config: PathBuf,
    data: PathBuf,
    /// The process, while it runs.
    pub process: Process,
    /// Where users connect.
    pub rest: SocketAddr,
    /// Where agents connect.
    pub agents: SocketAddr,
}

impl ControllerHost {
    /// Starts a controller in a folder; `extra` is added to its configuration.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(program: &Path, dir: &Path, extra: &str, log: &str) -> anyhow::Result<Self> {
        let (config, data) = (dir.join("controller.toml"), dir.join("data"));
        let text = format!(
            "{extra}\n[data]\ndirectory = {data:?}\n[rest]\nlisten = \"127.0.0.1:0\"\n[log]\nfilter = {log:?}\n"
        );
        std::fs::write(&config, text)?;
        let process = launch(program, &config, &[])?;
        process.line("controller ready").await?;
        let (rest, agents) = listening(&data)?;
        Ok(Self { program: program.to_owned(), config, data, process, rest, agents })
    }

    /// Starts it again, on the same ports.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.restart_with(&[]).await
    }

    /// The same, with variables of the environment.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart_with(&mut self, env: &[(&str, &str)]) -> anyhow::Result<()> {
        let (rest, agents) = (self.rest.to_string(), self.agents.to_string());
        let same = [("CRATEKUBE_REST__LISTEN", &*rest), ("CRATEKUBE_AGENTS__LISTEN", &*agents)];
        self.process = launch(&self.program, &self.config, &[&same, env].concat())?;
        self.process.line("controller ready").await.map(|_| ())
    }

    /// Starts another one on the same data directory and ports, and waits for nothing.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&self) -> anyhow::Result<Process> {
        let (rest, agents) = (self.rest.to_string(), self.agents.to_string());
        launch(
            &self.program,
            &self.config,
            &[("CRATEKUBE_REST__LISTEN", &*rest), ("CRATEKUBE_AGENTS__LISTEN", &*agents)],
        )
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runs a sub-command beside it; answers what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub async fn command(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.env_clear().arg("--config").arg(&self.config).args(args);
        output(command).await
    }

    /// A client with a fresh token that has these grants.
    ///
    /// # Errors
    /// When no token can be had.
    pub async fn client(&self, subject: &str, grants: &[&str]) -> anyhow::Result<Client> {
        let mut args = vec!["token", "issue", "--subject", subject];
        grants.iter().for_each(|grant| args.extend(["--grant", grant]));
        let token = self.command(&args).await?;
        let ca = std::fs::read_to_string(self.data.join("ca.pem"))?;
        Client::new(self.rest, &ca, Some(token))
    }
}

fn launch(program: &Path, config: &Path, env: &[(&str, &str)]) -> anyhow::Result<Process> {
    let mut command = Command::new(program);
    command.env_clear().arg("--config").arg(config).arg("serve");
    command.envs(env.iter().copied());
    Process::start("controller", command)
}

fn listening(data: &Path) -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let note: Value = serde_json::from_slice(&std::fs::read(data.join("listening.json"))?)?;
    let address = |key: &str| note[key].as_str().with_context(|| format!("no {key}"))?.parse().context("no address");
    Ok((address("rest")?, address("agents")?))
}
