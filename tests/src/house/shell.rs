//! A person at a shell with `cratekube`: commands that are run to their end, left running, or typed on
//! a terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::World;
use super::process::PATIENCE;

/// A person's home with the client in it.
#[derive(Debug, Clone)]
pub struct Shell {
    program: PathBuf,
    home: PathBuf,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// The result, if it ended with this code.
    ///
    /// # Errors
    /// When it ended with another.
    pub fn expect(self, code: i32) -> anyhow::Result<Self> {
        if self.code != code {
            bail!("expected exit code {code}, got {}:\n{}\n{}", self.code, self.out, self.err);
        }
        Ok(self)
    }

    /// Standard output as JSON.
    ///
    /// # Errors
    /// When it is not.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(&self.out).with_context(|| format!("not JSON: {}", self.out))
    }
}

impl Shell {
    /// A shell that knows no controller yet.
    ///
    /// # Errors
    /// When the home cannot be made.
    pub fn at(home: &Path, program: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home)?;
        Ok(Self { program: program.into(), home: home.to_owned() })
    }

    /// A shell that is logged in with these grants; `prod` is its environment.
    ///
    /// # Errors
    /// When that is refused.
    pub async fn logged_in(world: &World, program: &str, grants: &[&str]) -> anyhow::Result<Self> {
        let shell = Self::at(&world.path().join("home"), program)?;
        let token = shell.token(world, grants).await?;
        let address = format!("https://localhost:{}", world.controller.rest.port());
        let (ca, token) = (world.controller.data().join("ca.pem"), token.to_string_lossy().into_owned());
        let ca = ca.to_string_lossy();
        shell
            .run(&["login", "--address", &address, "--ca", &ca, "--credential", &token, "-e", "prod"])
            .await?
            .expect(0)?;
        Ok(shell)
    }

    /// A file in the home with a fresh token.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn token(&self, world: &World, grants: &[&str]) -> anyhow::Result<PathBuf> {
        let mut args = vec!["token", "issue", "--subject", "cli"];
        grants.iter().for_each(|grant| args.extend(["--grant", grant]));
        self.file("token", &world.controller.command(&args).await?)
    }

    /// A file in the home.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.home.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Where profiles are kept.
    #[must_use]
    pub fn profile(&self, name: &str) -> PathBuf {
        self.home.join("config/cratekube/profiles").join(format!("{name}.toml"))
    }

    /// A command that is not started yet.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("XDG_CONFIG_HOME", self.home.join("config")).args(args);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<Ran> {
        let output = tokio::time::timeout(PATIENCE, self.command(args).output()).await??;
        Ok(Ran {
            code: output.status.code().context("ended by a signal")?,
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// Starts a command on a terminal.
    ///
    /// # Errors
    /// When there is no terminal, or it cannot be started.
    pub fn on_terminal(&self, args: &[&str]) -> anyhow::Result<Terminal> {
        let mut command = self.command(args);
        command.env("TERM", "xterm");
        Terminal::start(command)
    }
}

/// A command on a pseudo terminal, and what is to be seen on it.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    pieces: mpsc::UnboundedReceiver<Vec<u8>>,
    seen: Vec<u8>,
}

impl Terminal {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 })?;
        let slave = ioctl_tiocgptpeer(&master, flags)?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.spawn()?;
        // What the command holds of the terminal must be all there is, so that its end is seen.
        drop(command);
        let keyboard = File::from(master.try_clone()?);
        let (sender, pieces) = mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || read(master, &sender));
        Ok(Self { child, keyboard, pieces, seen: Vec::new() })
    }

    /// Waits until this is to be seen.
    ///
    /// # Errors
    /// When it never is.
    pub async fn shows(&mut self, text: &str) -> anyhow::Result<()> {
        let found = tokio::time::timeout(PATIENCE, async {
            while !self.seen().contains(text) {
                self.seen.extend(self.pieces.recv().await?);
            }
            Some(())
        });
        match found.await {
            Ok(Some(())) => Ok(()),
            _ => bail!("the terminal never shows {text:?}, but: {:?}", self.seen()),
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// When nobody reads it.
    pub fn types(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(self.keyboard.write_all(format!("{line}\n").as_bytes())?)
    }

    /// Sends a signal, as the terminal does for Ctrl-C.
    ///
    /// # Errors
    /// When the command has ended.
    pub fn signal(&self, signal: rustix::process::Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Ok(rustix::process::kill_process(pid.context("the command has ended")?, signal)?)
    }

    /// Waits for the end; answers the exit code and all that was to be seen.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn ended(mut self) -> anyhow::Result<(i32, String)> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        while let Some(piece) = self.pieces.recv().await {
            self.seen.extend(piece);
        }
        Ok((status.code().context("ended by a signal")?, self.seen()))
    }

    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

/// Reads the terminal until nobody holds its other side.
fn read(master: OwnedFd, sender: &mpsc::UnboundedSender<Vec<u8>>) {
    let mut master = File::from(master);
    let mut buffer = [0; 4096];
    while let Ok(length) = master.read(&mut buffer) {
        if length == 0 || sender.send(buffer[..length].to_vec()).is_err() {
            return;
        }
    }
}
