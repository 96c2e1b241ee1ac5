//! Networks: the machine's own, and one in memory that can be cut and under which time can be paused.

use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use cratekube_agent::link::dial::{Dialer, Io};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const PIPE: usize = 64 * 1024;

/// A network in memory.
#[derive(Debug, Clone)]
pub struct Memory {
    arrivals: mpsc::UnboundedSender<Box<dyn Io>>,
    wires: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Memory {
    pub fn new(arrivals: mpsc::UnboundedSender<Box<dyn Io>>) -> Self {
        Self { arrivals, wires: Arc::default() }
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        self.wires.lock().unwrap().drain(..).for_each(|wire| wire.abort());
    }

    /// How often the agent has dialled.
    pub fn dialled(&self) -> usize {
        self.wires.lock().unwrap().len()
    }
}

#[async_trait]
impl Dialer for Memory {
    async fn connect(&self, _host: &str, _port: u16) -> io::Result<Box<dyn Io>> {
        let (ours, mut near) = tokio::io::duplex(PIPE);
        let (mut far, theirs) = tokio::io::duplex(PIPE);
        let wire = tokio::spawn(async move {
            let _cut_or_closed = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
        self.wires.lock().unwrap().push(wire);
        self.arrivals.send(Box::new(theirs)).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(Box::new(ours))
    }
}
