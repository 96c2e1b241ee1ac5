//! A real sshd on an address of this machine, that lets one key in.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::process::Command;

use super::process::{Process, output};

/// A running sshd; it ends with this value.
#[derive(Debug)]
pub struct Sshd {
    /// The name by which a spec can name its host: a spec takes no loopback address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who may log in: whoever runs the tests.
    pub user: String,
    /// The process.
    pub process: Process,
    dir: TempDir,
}

impl Sshd {
    /// Starts one; none, having said so, where there is no sshd or this machine's name means no address of
    /// its own.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(story: &str) -> anyhow::Result<Option<Self>> {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let programs = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"].map(PathBuf::from);
        let program = programs.into_iter().find(|path| path.exists());
        let Some(program) = program else {
            anyhow::ensure!(std::env::var_os("CI").is_none(), "CI must have sshd (package openssh-server)");
            writeln!(std::io::stderr(), "SKIPPED {story}: there is no sshd here (package openssh-server)")?;
            return Ok(None);
        };
        let Some((address, port)) = own_address(&host) else {
            // Nothing that CI could install.
            writeln!(std::io::stderr(), "SKIPPED {story}: {host} is no name of an address of this machine")?;
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        for name in ["id", "host_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(dir.path().join(name));
            output(keygen).await?;
        }
        // sshd that runs as root wants its empty folder.
        if rustix::process::geteuid().is_root() {
            std::fs::create_dir_all("/run/sshd")?;
        }
        let at = dir.path().display();
        let config = format!(
            "ListenAddress {address}:{port}\nHostKey {at}/host_key\nAuthorizedKeysFile {at}/id.pub\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n"
        );
        std::fs::write(dir.path().join("sshd_config"), config)?;
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-f"]).arg(dir.path().join("sshd_config"));
        let process = Process::start("sshd", command)?;
        process.line("Server listening").await?;
        let mut who = Command::new("id");
        who.arg("-un");
        let user = output(who).await?.trim().to_owned();
        Ok(Some(Self { host, port, user, process, dir }))
    }

    /// The private key that it lets in.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.dir.path().join("id")
    }
}

/// An address of this machine that its name means, with a free port.
fn own_address(host: &str) -> Option<(IpAddr, u16)> {
    let addresses = (host, 0).to_socket_addrs().ok()?.filter(SocketAddr::is_ipv4);
    let listeners = addresses.filter_map(|address| TcpListener::bind(address).ok());
    let free = listeners.filter_map(|listener| listener.local_addr().ok()).next()?;
    (host != "localhost").then(|| (free.ip(), free.port()))
}
