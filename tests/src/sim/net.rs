//! The product's seams to the network, on the simulated one.

use std::io;
use std::net::SocketAddr;

use cratekube_agent::link::dial::{Dialer, Io};
use cratekube_controller::edge::accept::Listener;
use turmoil::net::{TcpListener, TcpStream};

/// Connects through the simulated network.
#[derive(Debug, Clone, Copy)]
pub struct Net;

#[tonic::async_trait]
impl Dialer for Net {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Io>> {
        Ok(Box::new(TcpStream::connect((host, port)).await?))
    }
}

/// Accepts from the simulated network.
pub struct Door(TcpListener);

impl Door {
    /// Opens a port of this host.
    ///
    /// # Errors
    /// When it is taken.
    pub async fn open(port: u16) -> io::Result<(Self, SocketAddr)> {
        let address = SocketAddr::from(([0, 0, 0, 0], port));
        Ok((Self(TcpListener::bind(address).await?), address))
    }
}

impl Listener for Door {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }
}
