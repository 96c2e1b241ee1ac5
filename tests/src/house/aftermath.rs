//! What must be true of a provisioned cluster whatever was killed on the way: `rke` acted once, every byte
//! of output is stored once and in order, and the state that it left is sealed and on record.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::World;

/// Where the clusters of these stories are.
pub const CLUSTERS: &str = "/v1/environments/prod/clusters";

/// How an operation ended that was disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// As if nothing had happened.
    Succeeded,
    /// Lost is kept apart from failed: it is not known how far `rke` came, or it never started.
    Interrupted,
}

impl World {
    /// How often `rke up` was started for a cluster.
    ///
    /// # Errors
    /// When the book of invocations cannot be read.
    pub fn ups(&self, cluster: &str) -> anyhow::Result<usize> {
        let is_up = |run: &&crate::rehearsal::journal::RunRecord| {
            run.command == "up" && run.cluster.as_deref() == Some(cluster)
        };
        Ok(self.rke.runs()?.iter().filter(is_up).count())
    }

    /// Checks what must be true of an operation that was disturbed, and says how it ended.
    ///
    /// # Errors
    /// When something is not as it must be.
    pub async fn aftermath(&self, cluster: &str, operation: &Value) -> anyhow::Result<End> {
        let ups = self.ups(cluster)?;
        let end = match (operation["state"].as_str(), operation["failure"]["class"].as_str()) {
            (Some("succeeded"), _) => End::Succeeded,
            (Some("failed"), Some("interrupted")) => End::Interrupted,
            _ => anyhow::bail!("{cluster} ended otherwise: {operation:#}"),
        };
        ensure!(ups <= 1, "rke acted {ups} times on {cluster}: {operation:#}");
        ensure!(end == End::Interrupted || ups == 1, "rke never acted on {cluster}: {operation:#}");
        self.output_is_whole(cluster, operation).await?;
        if ups == 1 {
            self.state_is_sealed(cluster, end).await?;
        }
        Ok(end)
    }

    /// Every byte that is on the volume is stored, once and in order.
    async fn output_is_whole(&self, cluster: &str, operation: &Value) -> anyhow::Result<()> {
        let path = operation["links"]["output"].as_str().context("no link to the output")?;
        let stored = self.client.get(path).await?.expect(200)?.body;
        let mut written = Vec::new();
        for run in self.agent.runs("prod", cluster)? {
            match std::fs::read(run.join("output.log")) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                read => written.extend(read?),
            }
        }
        ensure!(stored == written, "{cluster}: {} bytes stored, {} written", stored.len(), written.len());
        Ok(())
    }

    /// What is in `working/` is the newest generation, on the volume and on record.
    async fn state_is_sealed(&self, cluster: &str, end: End) -> anyhow::Result<()> {
        let answer = self.client.get(&format!("{CLUSTERS}/{cluster}/generations")).await?.expect(200)?.json();
        let newest = answer["items"].as_array().and_then(|items| items.first()).context("nothing is sealed")?;
        ensure!(end == End::Interrupted || newest["good"] == true, "{cluster}: {newest:#}");
        let number = newest["number"].as_u64().context("a generation without a number")?;
        let folder = self.agent.cluster("prod", cluster);
        let sealed = folder.join("generations").join(format!("{number:06}"));
        for file in newest["files"].as_array().into_iter().flatten() {
            let name = file["name"].as_str().context("a file without a name")?;
            let (sealed, working) =
                (std::fs::read(sealed.join(name))?, std::fs::read(folder.join("working").join(name))?);
            ensure!(sealed == working, "{cluster}: {name} is not what was sealed");
            let sha256 = crate::rehearsal::journal::sha256(&sealed);
            ensure!(file["sha256"] == sha256.as_str(), "{cluster}: another {name} is on record");
        }
        Ok(())
    }
}
