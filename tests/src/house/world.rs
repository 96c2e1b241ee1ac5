//! A world: one controller, one agent with its volume, a rehearsal of `rke` with the APIs of its clusters,
//! a faulty link between.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::ensure;
use tempfile::TempDir;

use super::Programs;
use super::agent::{AgentHost, AgentPlan};
use super::controller::ControllerHost;
use super::gate::Gate;
use super::link::Link;
use super::rest::Client;
use crate::cluster_api::ClusterApi;
use crate::rehearsal::control::Rehearsal;
use crate::rehearsal::fault::After;

/// Leases that end soon enough for a test to see it, with room for a slow machine.
const QUICK_LEASES: &str = "lease_ttl = \"8s\"\nheartbeat_interval = \"1s\"";

/// What fails stays failed, so that a story sees it; and it is about one run, that of `rke`.
const ONE_ATTEMPT: &str = "steps = []\nattempts = 1";
/// What fails in passing is tried again soon.
const SOON_AGAIN: &str = "steps = []\nattempts = 3\nretry_delay = \"100ms\"\nretry_delay_max = \"1s\"";
/// With everything that goes along with `rke`.
const WHOLE: &str = "attempts = 1\nconfirm_pause = \"0s\"";

/// Longer than anything takes that is there, also on a slow machine.
const READY_TIMEOUT: &str = "30s";

/// What a story's processes log: enough to see why it failed.
const CHATTY: &str = "debug,hyper=info,h2=info,rustls=info,tower=info";

/// What is particular about a world.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// More lines in the agent's `[rke]`.
    pub rke_settings: &'static str,
    /// Lines in the controller's `[operations]`.
    pub operations: &'static str,
    /// More sections of the controller's settings.
    pub controller: &'static str,
    /// More sections of the agent's settings.
    pub agent: &'static str,
    /// How long the agent waits for a cluster's API.
    pub ready_timeout: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self { rke_settings: "", operations: ONE_ATTEMPT, controller: "", agent: "", ready_timeout: READY_TIMEOUT }
    }
}

/// Everything a story needs.
pub struct World {
    /// The controller.
    pub controller: ControllerHost,
    /// The agent.
    pub agent: AgentHost,
    /// The link from the agent to the controller.
    pub link: Link,
    /// What stands in for `rke`.
    pub rke: Rehearsal,
    /// The APIs of the clusters that it built.
    pub clusters: ClusterApi,
    /// A client that may operate in every environment, and administrate.
    pub client: Client,
    programs: Programs,
    dir: TempDir,
}

impl World {
    /// A world in which everything is up.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn start(programs: Programs) -> anyhow::Result<Self> {
        Self::build(programs, CHATTY, Setup::default()).await
    }

    /// A world in which what fails in passing is tried again, three times in all.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn persistent(programs: Programs) -> anyhow::Result<Self> {
        Self::build(programs, CHATTY, Setup { operations: SOON_AGAIN, ..Setup::default() }).await
    }

    /// A world in which operations are whole: hosts are looked at, clusters configured and verified.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn whole(programs: Programs) -> anyhow::Result<Self> {
        Self::build(programs, CHATTY, Setup { operations: WHOLE, ..Setup::default() }).await
    }

    /// A world with something particular.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn with(programs: Programs, setup: Setup) -> anyhow::Result<Self> {
        Self::build(programs, CHATTY, setup).await
    }

    /// A world that logs what a production one would: for benches.
    ///
    /// # Errors
    /// When something does not come up.
    pub async fn quiet(programs: Programs) -> anyhow::Result<Self> {
        Self::build(programs, "info", Setup::default()).await
    }

    async fn build(programs: Programs, log: &str, setup: Setup) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let settings = format!(
            "[agents]\nlisten = \"127.0.0.1:0\"\n{QUICK_LEASES}\n[operations]\n{}\n{}\n",
            setup.operations, setup.controller
        );
        let controller = ControllerHost::start(&programs.controller, dir.path(), &settings, log).await?;
        let rke = Rehearsal::install(&dir.path().join("bin"), &programs.rke)?;
        let clusters = ClusterApi::start(rke.fleet()).await?;
        let proxy = clusters.url();
        let link = Link::to(controller.agents).await?;
        let volume = dir.path().join("volume");
        let plan = AgentPlan {
            rke_settings: setup.rke_settings,
            settings: setup.agent,
            ready_timeout: setup.ready_timeout,
            ..plan(&programs, dir.path(), "bastion-1", &volume, (&rke, &proxy), link.address(), log)
        };
        let token = controller.command(&["agent", "join-token"]).await?;
        let agent = AgentHost::start(plan, &token).await?;
        let client = controller.client("tester", &["operator:*", "admin:*"]).await?;
        Ok(Self { controller, agent, link, rke, clusters, client, programs, dir })
    }

    /// Another agent, with a volume of its own or another's.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn another_agent(&self, name: &str, volume: &Path) -> anyhow::Result<AgentHost> {
        let dir = self.dir.path().join(name);
        let proxy = self.clusters.url();
        let plan = plan(&self.programs, &dir, name, volume, (&self.rke, &proxy), self.link.address(), CHATTY);
        let token = self.controller.command(&["agent", "join-token"]).await?;
        AgentHost::start(plan, &token).await
    }

    /// Puts a gate into the next run, after a line: one that contains a text, or one with a number.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn gate(&mut self, after: impl Into<After>) -> anyhow::Result<Gate> {
        Gate::in_next_run(&mut self.rke, self.dir.path(), after)
    }

    /// A folder of this world.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Stops everything and checks that nothing is left: processes end cleanly, no `rke` runs on, and
    /// none ever ran beside another for the same cluster.
    ///
    /// # Errors
    /// When something is left, or ended badly.
    pub async fn finish(mut self) -> anyhow::Result<()> {
        self.agent.process.stop().await?;
        self.controller.process.stop().await?;
        for run in self.rke.runs()? {
            ensure!(!run.overlap, "two rke ran at once for one cluster: {run:?}");
            ensure!(!is_alive(run.pid, self.rke.program()), "an rke was left behind: {run:?}");
        }
        Ok(())
    }
}

/// Whether a process with this id runs this program.
fn is_alive(pid: u32, program: &Path) -> bool {
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    cmdline.starts_with(program.as_os_str().as_encoded_bytes())
}

fn plan<'a>(
    programs: &'a Programs,
    dir: &'a Path,
    name: &'a str,
    volume: &'a Path,
    (rke, kubernetes_proxy): (&'a Rehearsal, &'a str),
    controller: SocketAddr,
    log: &'a str,
) -> AgentPlan<'a> {
    let rke = rke.program();
    AgentPlan {
        program: &programs.agent,
        dir,
        name,
        volume,
        rke,
        rke_settings: "",
        settings: "",
        kubernetes_proxy,
        ready_timeout: READY_TIMEOUT,
        controller,
        log,
    }
}
