//! A stand-in for AWS: moto's server (PyPI), a real API over HTTP on this machine.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::wire::Message;

/// A running moto. It ends with this value.
pub struct Moto {
    child: Child,
    pub at: SocketAddr,
}

impl Moto {
    /// Starts one, or says why the test is skipped. Where `CI` is set it has to be there.
    pub fn start(test: &str) -> Option<Self> {
        let Some(program) = program() else {
            assert!(std::env::var_os("CI").is_none(), "CI must have moto's server: `.ci/run` installs it");
            println!("SKIPPED {test}: there is no `moto_server` here (pip install 'moto[server]', or set MOTO_SERVER)");
            return None;
        };
        // Port 0: it takes a free one and says which. Without the images of all machines it starts faster.
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let (_, rest) = line.split_once("Running on http://127.0.0.1:")?;
            rest.trim().trim_end_matches("\u{1b}[0m").parse().ok()
        });
        // It writes a line for each call: they are read away.
        std::thread::spawn(move || lines.for_each(drop));
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("moto's server ended before it listened")));
        Some(Self { child, at })
    }

    /// Forgets everything.
    pub fn reset(&self) {
        let reset = Message {
            first: "POST /moto-api/reset HTTP/1.1".into(),
            headers: vec![("host".into(), "x".into())],
            body: String::new(),
        };
        assert!(reset.exchange(self.at).unwrap().first.contains(" 200"));
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Where `.ci/run` put it, or where the environment says, or on the path.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("MOTO_SERVER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("moto_server"));
    named.into_iter().chain(on_path).find(|program| program.is_file())
}
