//! A machine that becomes a bastion, with a controller outside of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use cratekube_tests::house::aftermath::CLUSTERS;
use cratekube_tests::house::controller::ControllerHost;
use cratekube_tests::house::machine::{Done, LoopDevice, Machine};
use cratekube_tests::house::{Client, Gate, Programs, specs};
use cratekube_tests::rehearsal::control::Rehearsal;
use serde_json::Value;

/// Where a bastion's state volume is.
pub(crate) const VOLUME: &str = "/mnt/state";
/// Where the test's folders are: on a file system that units see.
const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// Waits until the agent's unit says this in its status.
const ONLINE: &str = "for _ in $(seq 300); do
  case $(systemctl show -P StatusText cratekube-agent) in online*) exit 0 ;; esac; sleep 0.1
done; systemctl --no-pager status cratekube-agent; journalctl --no-pager -u cratekube-agent; exit 1";

/// A machine with what a bastion needs: a blank device and an `rke`.
pub(crate) struct Bastion {
    // The machine ends before the device that it has mounted.
    pub(crate) machine: Machine,
    pub(crate) device: LoopDevice,
    pub(crate) rke: Rehearsal,
    _folder: tempfile::TempDir,
}

impl Bastion {
    pub(crate) async fn boot(base: &Path, programs: &Programs) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(FOLDER)?;
        let device = LoopDevice::blank(&folder.path().join("disk"), 160).await?;
        let machine = Machine::boot(base, FOLDER.as_ref(), &[device.node()]).await?;
        let program = machine.shared().join("rke-rehearsal");
        fs::copy(&programs.rke, &program)?;
        let place = machine.shared().join("bin");
        let rke = Rehearsal::install(&place, &program)?;
        // It keeps its book beside itself, as the agent's user, and the unit forbids that by default.
        machine
            .run(&format!(
                "chmod -R a+rwX {place}; mkdir -p /etc/systemd/system/cratekube-agent.service.d
                 printf '[Service]\\nReadWritePaths={place}\\nPrivateTmp={private}\\n' >/etc/systemd/system/cratekube-agent.service.d/test.conf",
                place = place.display(),
                // What the stand-in keeps may lie below /tmp, where the unit would not see it.
                private = if place.starts_with("/tmp") { "no" } else { "yes" },
            ))
            .await?
            .expect(0)?;
        Ok(Self { machine, device, rke, _folder: folder })
    }

    pub(crate) async fn run(&self, script: &str) -> anyhow::Result<Done> {
        self.machine.run(script).await
    }

    pub(crate) async fn online(&self) -> anyhow::Result<()> {
        self.run(ONLINE).await?.expect(0).map(|_| ())
    }

    /// The options that this bastion is installed with.
    pub(crate) fn options(&self) -> String {
        format!(
            "--format-device {} --rke {} --ssh-key /etc/cratekube/id",
            self.device.node().display(),
            self.rke.program().display()
        )
    }

    /// A cluster whose `rke` waits in the middle of its run.
    pub(crate) async fn in_mid_run(&mut self, client: &Client, name: &str) -> anyhow::Result<Run> {
        let place = self.machine.shared().join("bin");
        let count = self.rke.runs()?.len();
        let gate = Gate::in_next_run(&mut self.rke, &place, "Building Kubernetes cluster")?;
        fs::set_permissions(place.join(format!("gate-{count}")), fs::Permissions::from_mode(0o666))?;
        let accepted = client.post(CLUSTERS, &specs::nth(name, 1 + count)).await?.expect(202)?;
        let passage = gate.reached().await?;
        let supervisor = self.supervisor().await?;
        Ok(Run { location: accepted.header("location").to_owned(), supervisor, name: name.to_owned(), passage })
    }

    /// The one supervisor at work: its number, and the scope that it is in.
    pub(crate) async fn supervisor(&self) -> anyhow::Result<String> {
        let script = "pid=$(pgrep -u cratekube-agent -f ' supervise /'); echo $pid; tail -n 1 /proc/$pid/cgroup";
        self.run(script).await?.expect(0)
    }

    /// Lets a run go on to its end: the same run, as if nothing had happened, without a gap.
    pub(crate) async fn ended(&self, client: &Client, run: Run) -> anyhow::Result<()> {
        ensure!(self.supervisor().await? == run.supervisor, "another supervisor is at work");
        drop(run.passage);
        let operation = client.ended(&run.location).await?;
        ensure!(operation["state"] == "succeeded", "{operation:#}");
        ensure!(operation["attempts"].as_array().map_or(0, Vec::len) == 1, "one attempt: {operation:#}");
        let ups =
            self.rke.runs()?.iter().filter(|r| r.cluster.as_deref() == Some(&*run.name) && r.command == "up").count();
        ensure!(ups == 1, "rke acted {ups} times");
        let stored = client.get(&format!("{}/output", run.location)).await?.expect(200)?.text();
        let written =
            self.run(&format!("cat {VOLUME}/clusters/prod/{}/runs/*/output.log", run.name)).await?.expect(0)?;
        ensure!(stored == written, "stored:\n{stored}\nwritten:\n{written}");
        Ok(())
    }
}

/// A run that waits at a gate.
pub(crate) struct Run {
    pub(crate) location: String,
    pub(crate) supervisor: String,
    name: String,
    passage: cratekube_tests::house::gate::Passage,
}

/// A controller that gives away agents from a folder.
pub(crate) struct Office {
    pub(crate) controller: ControllerHost,
    pub(crate) client: Client,
    agents: PathBuf,
    _dir: tempfile::TempDir,
}

impl Office {
    pub(crate) async fn open(programs: &Programs) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let agents = dir.path().join("agents");
        fs::create_dir(&agents)?;
        let settings = format!(
            "[agents]\nlisten = \"127.0.0.1:0\"\nheartbeat_interval = \"1s\"\n[operations]\nsteps = []\n[install]\nagent_binaries = {agents:?}\n"
        );
        let controller = ControllerHost::start(&programs.controller, dir.path(), &settings, "info").await?;
        let client = controller.client("tester", &["operator:*", "admin:*"]).await?;
        let office = Self { controller, client, agents, _dir: dir };
        office.offer(programs, 0)?;
        Ok(office)
    }

    /// Gives away another release: the same agent with a few bytes more, which change nothing.
    pub(crate) fn offer(&self, programs: &Programs, release: usize) -> anyhow::Result<()> {
        let mut program = fs::read(&programs.agent)?;
        program.extend(std::iter::repeat_n(0, release));
        let draft = self.agents.join("draft");
        fs::write(&draft, program)?;
        Ok(fs::rename(draft, self.agents.join(format!("cratekube-agent-{}", std::env::consts::ARCH)))?)
    }

    /// A join token, and the line that goes with it.
    pub(crate) async fn join_token(&self) -> anyhow::Result<(String, String)> {
        let made = self.client.post("/v1/admin/join-tokens", &serde_json::json!({})).await?.expect(201)?.json();
        let text = |name: &str| -> anyhow::Result<String> {
            made[name].as_str().map(ToOwned::to_owned).with_context(|| format!("no {name}: {made:#}"))
        };
        Ok((text("token")?, text("install")?))
    }

    /// `curl … | sh -s --` with these options, as a person would type it.
    pub(crate) fn piped(&self, machine: &Machine, options: &str) -> anyhow::Result<String> {
        let ca = machine.shared().join("ca.pem");
        fs::copy(self.controller.data().join("ca.pem"), &ca)?;
        Ok(format!(
            "curl -fsS --cacert {} https://localhost:{}/install.sh | sh -s -- {options}",
            ca.display(),
            self.controller.rest.port()
        ))
    }

    pub(crate) async fn agent(&self) -> anyhow::Result<Value> {
        let agents = self.client.get("/v1/admin/agents").await?.expect(200)?.json();
        agents["items"].as_array().and_then(|items| items.first().cloned()).context("no agent")
    }
}
