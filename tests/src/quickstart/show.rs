//! What the quickstart shows.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::place::Place;
use super::{CLUSTERS, NAME};

/// Phases as they come: one line that is drawn over on a terminal, one line each elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    last: String,
}

impl Phases {
    pub(crate) fn step(&mut self, progress: &Value, out: &mut impl Write) -> io::Result<()> {
        let (step, steps) = (progress["step"].as_u64().unwrap_or(0), progress["steps"].as_u64().unwrap_or(1).max(1));
        let phase = progress["phase"].as_str().unwrap_or_default();
        // Between two tasks there is none.
        if phase.is_empty() || phase == self.last {
            return Ok(());
        }
        phase.clone_into(&mut self.last);
        if io::stdout().is_terminal() {
            let done = usize::try_from(step * 30 / steps).unwrap_or(30).min(30);
            write!(out, "\r   [{}{}] {step:>2}/{steps} {phase:<40}", "█".repeat(done), "░".repeat(30 - done))?;
        } else {
            writeln!(out, "   [{step:>2}/{steps}] {phase}")?;
        }
        out.flush()
    }

    pub(crate) fn end(&self, out: &mut impl Write) -> io::Result<()> {
        if io::stdout().is_terminal() && !self.last.is_empty() {
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Why an operation failed, in a sentence or three.
pub(crate) fn failure(operation: &Value) -> String {
    let failure = &operation["failure"];
    let text = |key: &str| failure[key].as_str().unwrap_or("-").to_owned();
    format!("[{}] {}\n  {}\n  What to do: {}", text("class"), text("message"), text("line"), text("remedy"))
}

/// The cluster and its newest sealed generation.
pub(crate) fn cluster(cluster: &Value, generations: &Value, out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "\ncluster demo/{NAME} is {}", cluster["phase"].as_str().unwrap_or("?"))?;
    for condition in cluster["conditions"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "   {}: {}",
            condition["kind"].as_str().unwrap_or_default(),
            condition["message"].as_str().unwrap_or_default()
        )?;
    }
    let newest = &generations["items"][0];
    writeln!(out, "sealed as generation {}:", newest["number"])?;
    for file in newest["files"].as_array().into_iter().flatten() {
        let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
        writeln!(out, "   {}  {:>8} bytes  {}", text("sha256"), file["bytes"], text("name"))?;
    }
    Ok(())
}

/// How to go on.
pub(crate) fn next_steps(place: &Place, token: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let kubeconfig = place.volume().join("clusters/demo").join(NAME).join("working/kube_config_cluster.yml");
    let ca = place.data().join("ca.pem");
    let address = format!("https://localhost:{}", place.rest()?.port());
    writeln!(
        out,
        "\nIt is left running; the token is valid for an hour.\n\
         \n  kubeconfig  {}\
         \n  logs        {}\
         \n\nTry it (README.md goes on from here):\n\
         \n  export API={address}\
         \n  export CA={}\
         \n  export TOKEN={token}\
         \n  curl --cacert $CA -H \"Authorization: Bearer $TOKEN\" $API{CLUSTERS}/{NAME}\
         \n\nOr look, in a browser that is told to trust $CA, with the token:\n\
         \n  {address}/ui/\
         \n\nOr with the command line client:\n\
         \n  echo $TOKEN | {client} login --address $API --ca $CA -e demo\
         \n  {client} cluster get {NAME}\
         \n\nStop it:\n\
         \n  deploy/quickstart stop",
        kubeconfig.display(),
        place.dir().display(),
        ca.display(),
        client = place.program_path("cratekube").display(),
    )?;
    Ok(())
}
