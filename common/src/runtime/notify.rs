//! Tells systemd how far we are (`Type=notify`): one datagram to the socket that it names. Without such
//! a socket nothing is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What systemd is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// Started: what begins after us may begin.
    Ready,
    /// Asked to stop.
    Stopping,
    /// A line for people: `systemctl status` shows it.
    Status(&'a str),
}

/// Tells the service manager, when there is one.
pub fn tell(state: State<'_>) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?state, "the service manager could not be told");
    }
}

fn send(socket: &OsStr, state: State<'_>) -> io::Result<()> {
    let message = match state {
        State::Ready => "READY=1".to_owned(),
        State::Stopping => "STOPPING=1".to_owned(),
        // One line: what follows it would be taken for another word.
        State::Status(text) => format!("STATUS={}", text.replace(['\n', '\r'], " ")),
    };
    // A leading @ stands for the zero byte of an abstract address.
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_manager_hears_each_state() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        for (state, expected) in [
            (State::Ready, &b"READY=1"[..]),
            (State::Stopping, b"STOPPING=1"),
            (State::Status("online\nREADY=1"), b"STATUS=online READY=1"),
        ] {
            send(path.as_os_str(), state).unwrap();
            let mut heard = [0; 64];
            let length = manager.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], expected);
        }
        assert!(send(dir.path().join("none").as_os_str(), State::Ready).is_err());
    }
}
