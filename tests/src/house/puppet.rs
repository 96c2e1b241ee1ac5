//! An agent on strings: a real identity, a real connection, and every word said by the test. It shows what
//! the controller makes of agents that are late, doubled, newer, or wrong about the time.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use cratekube_agent::config::Address;
use cratekube_agent::identity::enroll::{Enrollment, enroll};
use cratekube_agent::identity::files::IdentityFiles;
use cratekube_agent::link::channel::{Channel, Connector};
use cratekube_agent::link::dial::Tcp;
use cratekube_agent::link::tls;
use cratekube_common::domain::attempt::Fence;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::run::{RunOutcome, RunReport};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::clock;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_link_client::AgentLinkClient;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::controller::ControllerHost;
use super::process::PATIENCE;
use super::specs::VERSION;

/// An enrolled agent that does what the test says.
pub struct Puppet {
    client: AgentLinkClient<Channel>,
}

impl Puppet {
    /// Enrolls, and connects.
    ///
    /// # Errors
    /// When the controller does not want it.
    pub async fn enrolled(controller: &ControllerHost, dir: &Path, name: &str) -> anyhow::Result<Self> {
        let token = controller.command(&["agent", "join-token"]).await?;
        Self::enrolled_with(controller, dir, name, &token).await
    }

    /// The same with a token that is there already.
    ///
    /// # Errors
    /// When the controller does not want it.
    pub async fn enrolled_with(
        controller: &ControllerHost,
        dir: &Path,
        name: &str,
        token: &str,
    ) -> anyhow::Result<Self> {
        let (files, clock) = (IdentityFiles::at(&dir.join(name)), clock::system());
        let enrollment = Enrollment {
            controller: address(controller.agents)?,
            token: token.parse().map_err(|_| anyhow::anyhow!("not a join token"))?,
            name: name.parse().map_err(anyhow::Error::msg)?,
            volumes: Vec::new(),
        };
        enroll(&enrollment, &files, false, Arc::new(Tcp), &clock).await?;
        let tls = tls::enrolled(&files.load()?.current, &clock)?;
        let connection = Connector::new(Arc::new(Tcp), address(controller.agents)?).connect(tls).await?;
        Ok(Self { client: connection.link() })
    }

    /// Opens a session: says hello and hears the welcome.
    ///
    /// # Errors
    /// When it is not welcome.
    pub async fn session(&self, hello: Hello<'_>) -> anyhow::Result<PuppetSession> {
        let (up, messages) = mpsc::channel(64);
        up.send(v1::AgentMessage { message: Some(Up::Hello(hello.wire())) }).await?;
        let down = self.client.clone().session(ReceiverStream::new(messages)).await?.into_inner();
        let mut session = PuppetSession { up, down, welcome: v1::Welcome::default() };
        session.welcome = match session.next().await? {
            Down::Welcome(welcome) => welcome,
            other => bail!("not welcome, but {other:?}"),
        };
        Ok(session)
    }

    /// Opens a stream of output.
    ///
    /// # Errors
    /// When the controller does not want it.
    pub async fn output(&self) -> anyhow::Result<PuppetOutput> {
        let (up, chunks) = mpsc::channel(64);
        let answers = self.client.clone().output(ReceiverStream::new(chunks)).await?.into_inner();
        Ok(PuppetOutput { up, answers })
    }
}

fn address(of: SocketAddr) -> anyhow::Result<Address> {
    format!("localhost:{}", of.port()).parse().map_err(anyhow::Error::msg)
}

/// What a puppet says first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hello<'a> {
    /// The volume that it serves.
    pub volume: Option<&'a str>,
    /// The run that it holds.
    pub holds: Option<&'a v1::Assignment>,
    /// How far its clock is ahead of ours.
    pub ahead_ms: i64,
}

impl Hello<'_> {
    fn wire(self) -> v1::Hello {
        let volume = |id: &str| v1::Volume {
            id: id.to_owned(),
            path: "/mnt/state".into(),
            free_bytes: 1 << 30,
            total_bytes: 1 << 30,
            fault: String::new(),
            scrub: None,
            reserve_bytes: None,
        };
        let held = |a: &v1::Assignment| v1::HeldRun {
            attempt: a.attempt.clone(),
            fence: a.fence,
            cluster: a.cluster.clone(),
            volume: a.volume.clone(),
            live: true,
        };
        let facts = v1::AgentFacts {
            version: "0.0.0-puppet".into(),
            hostname: "puppet".into(),
            slots: 1,
            rke: None,
            kubernetes_versions: vec![VERSION.into()],
            volumes: self.volume.map(volume).into_iter().collect(),
        };
        let runs = self.holds.map(held).into_iter().collect();
        v1::Hello { facts: Some(facts), runs, now_ms: now(self.ahead_ms), answers: Vec::new() }
    }
}

/// The time, so far ahead.
#[must_use]
pub fn now(ahead_ms: i64) -> i64 {
    clock::system().now().as_millis() + ahead_ms
}

/// A puppet's session.
pub struct PuppetSession {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::ControllerMessage>,
    /// What it was welcomed with.
    pub welcome: v1::Welcome,
}

impl PuppetSession {
    /// Says something; nothing at all is what a newer release says that an older one does not know.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn say(&self, message: Option<Up>) -> anyhow::Result<()> {
        Ok(self.up.send(v1::AgentMessage { message }).await?)
    }

    /// The next thing that it is told.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn next(&mut self) -> anyhow::Result<Down> {
        let heard = tokio::time::timeout(PATIENCE, self.down.message()).await.context("nothing is told")??;
        heard.and_then(|message| message.message).context("the session ended")
    }

    /// Asks for work and waits for it.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn assignment(&mut self) -> anyhow::Result<v1::Assignment> {
        self.say(Some(Up::Ready(v1::Ready { slots: 1 }))).await?;
        loop {
            if let Down::Assignment(assignment) = self.next().await? {
                return Ok(assignment);
            }
        }
    }

    /// Says that a run has started.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn started(&self, of: &v1::Assignment) -> anyhow::Result<()> {
        let (attempt, fence) = (of.attempt.clone(), of.fence);
        self.say(Some(Up::Started(v1::RunStarted { attempt, fence, started_ms: now(0) }))).await
    }

    /// Reports, and waits for the answer.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn report(&mut self, report: RunReport) -> anyhow::Result<Down> {
        self.say(Some(Up::Report(report.into()))).await?;
        loop {
            let answer = self.next().await?;
            if matches!(answer, Down::ReportRecorded(_) | Down::LeaseVerdicts(_)) {
                return Ok(answer);
            }
        }
    }
}

/// A puppet's stream of output.
pub struct PuppetOutput {
    up: mpsc::Sender<v1::OutputChunk>,
    answers: Streaming<v1::OutputStored>,
}

impl PuppetOutput {
    /// Sends a chunk and waits for the answer: how much is stored, and whether nothing more is taken.
    ///
    /// # Errors
    /// When the stream ends.
    pub async fn chunk(&mut self, of: &v1::Assignment, offset: u64, data: &str) -> anyhow::Result<(u64, bool)> {
        let (attempt, fence) = (of.attempt.clone(), of.fence);
        self.up.send(v1::OutputChunk { attempt, fence, offset, data: data.to_owned().into() }).await?;
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await.context("no answer")??;
        let answer = answer.context("the stream of output ended")?;
        Ok((answer.stored, answer.closed))
    }
}

/// A report of a failure with these words.
///
/// # Errors
/// When the assignment has no attempt.
pub fn failed(of: &v1::Assignment, words: &str, output_bytes: u64) -> anyhow::Result<RunReport> {
    let failure = Failure {
        class: FailureClass::Config,
        message: words.to_owned(),
        line: None,
        retryable: false,
        remedy: "none".into(),
    };
    Ok(RunReport {
        attempt: of.attempt.parse().map_err(|e| anyhow::anyhow!("{e}"))?,
        fence: Fence(of.fence),
        outcome: RunOutcome::Failed(failure),
        exit: None,
        started_at: None,
        ended_at: Timestamp::from_millis(now(0)),
        generation: None,
        rke: None,
        warnings: Vec::new(),
        output_bytes,
        findings: None,
    })
}
