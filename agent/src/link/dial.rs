//! How bytes get to the controller. A trait, so that the simulation can put its own network here.

use std::fmt;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection that bytes go through.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Opens connections.
#[async_trait]
pub trait Dialer: Send + Sync + fmt::Debug {
    /// Opens one to a host, which is a name or an IP address without brackets.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>>;
}

/// The machine's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

#[async_trait]
impl Dialer for Tcp {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect((host, port)).await?;
        // Heartbeats, progress and acks are small and must not wait for each other.
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
    }
}
