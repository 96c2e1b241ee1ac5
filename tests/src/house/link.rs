//! A faulty link: a relay between agent and controller that can be cut, held and mended.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Passes them on.
    Whole,
    /// Resets connections and takes no new ones.
    Cut,
    /// Keeps connections open and passes nothing on.
    Held,
}

/// A relay to one address.
#[derive(Debug, Clone)]
pub struct Link {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    state: Arc<watch::Sender<State>>,
    stop: CancellationToken,
}

impl Link {
    /// A link to `target`, whole at first.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn to(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let link = Self {
            address: listener.local_addr()?,
            target: watch::channel(target).0,
            state: Arc::new(watch::channel(State::Whole).0),
            stop: CancellationToken::new(),
        };
        tokio::spawn(link.clone().relay(listener));
        Ok(link)
    }

    /// Where to connect instead of the target.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the target is elsewhere.
    pub fn point_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// Resets all connections and refuses new ones.
    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Lets nothing through; connections stay open.
    pub fn hold(&self) {
        self.state.send_replace(State::Held);
    }

    /// Everything goes through again.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    async fn relay(self, listener: TcpListener) {
        while let Some(Ok((near, _))) = self.stop.run_until_cancelled(listener.accept()).await {
            if *self.state.borrow() == State::Cut {
                continue;
            }
            let (state, target, stop) = (self.state.subscribe(), *self.target.borrow(), self.stop.clone());
            tokio::spawn(async move {
                if let Ok(far) = TcpStream::connect(target).await {
                    let _cut_or_closed = stop.run_until_cancelled(pass(near, far, state)).await;
                }
            });
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The relay task holds one clone of its own.
        if Arc::strong_count(&self.state) <= 2 {
            self.stop.cancel();
        }
    }
}

async fn pass(near: TcpStream, far: TcpStream, state: watch::Receiver<State>) {
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = one_way(near_read, far_write, state.clone()) => {}
        () = one_way(far_read, near_write, state) => {}
    }
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let now = *state.borrow_and_update();
        match now {
            State::Cut => return,
            State::Held => {
                if state.changed().await.is_err() {
                    return;
                }
            }
            State::Whole => tokio::select! {
                read = from.read(&mut buffer) => match read {
                    Ok(length) if length > 0 => {
                        if to.write_all(&buffer[..length]).await.is_err() {
                            return;
                        }
                    }
                    _ => return,
                },
                changed = state.changed() => if changed.is_err() { return },
            },
        }
    }
}
