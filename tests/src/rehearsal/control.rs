//! The hand on the rehearsal: how tests install it, tell it what goes wrong, and ask what it did.
//!
//! A [`Rehearsal`] is a directory with a symbolic link called `rke`, its settings and its fleet.
//! Settings may change between two runs; every change is written at once.

use std::io;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::fleet::{Fleet, Host, HostFault, LiveCluster};
use super::journal::{self, RunRecord};
use super::remove;
use super::settings::{Settings, settings_path};

/// An installed rehearsal.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    program: PathBuf,
    settings: Settings,
    fleet: Fleet,
}

impl Rehearsal {
    /// Links `binary` as `<dir>/rke` and gives it settings of its own: no faults, no waiting.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn install(dir: &Path, binary: &Path) -> io::Result<Rehearsal> {
        std::fs::create_dir_all(dir)?;
        let program = dir.join("rke");
        std::os::unix::fs::symlink(binary, &program)?;
        let rehearsal = Rehearsal {
            fleet: Fleet::open(&dir.join("rke.fleet")),
            program,
            settings: Settings { scale: 0.0, ..Settings::default() },
        };
        rehearsal.write()?;
        Ok(rehearsal)
    }

    /// What to start as `rke`.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The model of the hosts.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Sets the factor on recorded times.
    ///
    /// # Errors
    /// When the settings cannot be written.
    pub fn scale(&mut self, scale: f64) -> io::Result<&mut Rehearsal> {
        self.settings.scale = scale;
        self.write()?;
        Ok(self)
    }

    /// Adds a fault.
    ///
    /// # Errors
    /// When the settings cannot be written.
    pub fn fault(&mut self, fault: Fault) -> io::Result<&mut Rehearsal> {
        self.settings.faults.push(fault);
        self.write()?;
        Ok(self)
    }

    /// Takes all faults back.
    ///
    /// # Errors
    /// When the settings cannot be written.
    pub fn no_faults(&mut self) -> io::Result<&mut Rehearsal> {
        self.settings.faults.clear();
        self.write()?;
        Ok(self)
    }

    /// One host of the fleet.
    #[must_use]
    pub fn host(&self, address: &str) -> HostControl {
        HostControl { fleet: self.fleet.clone(), address: address.to_owned() }
    }

    /// Every invocation so far, in the order of their starts.
    ///
    /// # Errors
    /// When the book of invocations cannot be read.
    pub fn runs(&self) -> io::Result<Vec<RunRecord>> {
        journal::read(&self.fleet)
    }

    /// What the cluster with this CA (SHA-256 of the certificate, DER) knows of itself.
    #[must_use]
    pub fn cluster(&self, ca: &str) -> Option<LiveCluster> {
        self.fleet.cluster(ca)
    }

    /// Replaced atomically, for a run may be reading.
    fn write(&self) -> io::Result<()> {
        let path = settings_path(&self.program);
        let draft = path.with_extension("draft");
        std::fs::write(&draft, serde_json::to_vec_pretty(&self.settings)?)?;
        std::fs::rename(&draft, &path)
    }
}

/// One host of the fleet.
#[derive(Clone, Debug)]
pub struct HostControl {
    fleet: Fleet,
    address: String,
}

impl HostControl {
    /// From now on something is wrong with it.
    ///
    /// # Errors
    /// When the fleet cannot be written.
    pub fn unreachable(&self, fault: HostFault) -> io::Result<()> {
        self.fleet.change_host(&self.address, |host| host.fault = Some(fault))
    }

    /// From now on nothing is wrong with it; its containers are what they were.
    ///
    /// # Errors
    /// When the fleet cannot be written.
    pub fn reachable(&self) -> io::Result<()> {
        self.fleet.change_host(&self.address, |host| host.fault = None)
    }

    /// Somebody cleaned it by hand.
    ///
    /// # Errors
    /// When the fleet cannot be written.
    pub fn cleaned(&self) -> io::Result<()> {
        self.fleet.change_host(&self.address, remove::wipe)
    }

    /// What it is like now.
    #[must_use]
    pub fn look(&self) -> Host {
        self.fleet.host(&self.address)
    }
}
