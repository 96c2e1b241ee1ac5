//! A child process: what it prints is kept, its end is awaited, and it never outlives the test.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Nothing that a test waits for takes this long; a test that does is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    printed: Printed,
}

#[derive(Debug, Clone)]
struct Printed {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
}

impl Process {
    /// Starts a program; its two outputs are kept, line by line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let printed = Printed { lines: Arc::default(), count: watch::channel(0).0 };
        if let Some(out) = child.stdout.take() {
            printed.clone().follow(out);
        }
        if let Some(err) = child.stderr.take() {
            printed.clone().follow(err);
        }
        Ok(Self { name: name.to_owned(), child, printed })
    }

    /// Its process id, while it lives.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until it has printed a line that contains `text`.
    ///
    /// # Errors
    /// When it ends, or never prints it; with what it printed instead.
    pub async fn line(&self, text: &str) -> anyhow::Result<String> {
        let mut count = self.printed.count.subscribe();
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(line) = self.printed().into_iter().find(|line| line.contains(text)) {
                    return Some(line);
                }
                count.changed().await.ok()?;
            }
        });
        match found.await {
            Ok(Some(line)) => Ok(line),
            _ => bail!("{} never printed {text:?}, but:\n{}", self.name, self.printed().join("\n")),
        }
    }

    /// Everything it has printed.
    #[must_use]
    pub fn printed(&self) -> Vec<String> {
        self.printed.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has ended", self.name))?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        Ok(ended.with_context(|| format!("{} does not end:\n{}", self.name, self.printed().join("\n")))??)
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::KILL)?;
        self.ended().await.map(|_| ())
    }

    /// Asks it to stop, and expects a clean end.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(rustix::process::Signal::TERM)?;
        let status = self.ended().await?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}", self.name, self.printed().join("\n"));
        }
        Ok(())
    }
}

impl Printed {
    fn follow(self, from: impl AsyncRead + Send + Unpin + 'static) {
        tokio::spawn(async move {
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                self.count.send_modify(|count| *count += 1);
            }
        });
    }
}

/// Runs a program to its end; answers what it printed to its standard output.
///
/// # Errors
/// When it fails, with what it printed to its standard error.
pub async fn output(mut command: Command) -> anyhow::Result<String> {
    let output = tokio::time::timeout(PATIENCE, command.stdin(Stdio::null()).output()).await??;
    if !output.status.success() {
        bail!("{:?} failed: {}", command.as_std(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
