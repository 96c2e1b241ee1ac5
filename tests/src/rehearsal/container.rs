//! The lines that one container causes on one host, and what it leaves in the fleet.
//!
//! Nothing here decides *whether* something is done; the phases do. Times are those of the
//! recording of a single node.

use super::catalogue::Images;
use super::fleet::{Container, Host};
use super::stage::Script;

/// One host while rke works on it: its script grows and its containers change together.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) address: String,
    pub(crate) host: Host,
    pub(crate) script: Script,
}

impl Site {
    pub(crate) fn new(address: &str, host: Host) -> Site {
        Site { address: address.to_owned(), host, script: Script::new() }
    }

    pub(crate) fn exists(&self, container: &str) -> bool {
        self.host.containers.contains_key(container)
    }

    pub(crate) fn put(&mut self, container: &str, condition: Container) {
        self.host.containers.insert(container.to_owned(), condition);
    }

    pub(crate) fn checking(&mut self, after_ms: u64, container: &str) {
        let at = &self.address;
        self.script.say(after_ms, format!("Checking if container [{container}] is running on host [{at}], try #1"));
    }

    pub(crate) fn image(&mut self, after_ms: u64, image: &str) {
        let at = &self.address;
        self.script.say(after_ms, format!("Image [{image}] exists on host [{at}]"));
    }

    pub(crate) fn starting(&mut self, after_ms: u64, container: &str) {
        let at = &self.address;
        self.script.say(after_ms, format!("Starting container [{container}] on host [{at}], try #1"));
    }

    /// `[plane] Successfully started [x] …`; without the bracket when `plane` is empty.
    pub(crate) fn started(&mut self, after_ms: u64, plane: &str, container: &str) {
        let at = &self.address;
        let plane = if plane.is_empty() { String::new() } else { format!("[{plane}] ") };
        self.script.say(after_ms, format!("{plane}Successfully started [{container}] container on host [{at}]"));
    }

    pub(crate) fn removing(&mut self, after_ms: u64, container: &str) {
        let at = &self.address;
        self.script.say(after_ms, format!("Removing container [{container}] on host [{at}], try #1"));
        self.host.containers.remove(container);
    }

    pub(crate) fn removed(&mut self, after_ms: u64, container: &str) {
        let at = &self.address;
        self.script.say(after_ms, format!("[remove/{container}] Successfully removed container on host [{at}]"));
    }

    pub(crate) fn waiting(&mut self, after_ms: u64, container: &str) {
        let at = &self.address;
        self.script.say(after_ms, format!("Waiting for [{container}] container to exit on host [{at}]"));
    }

    pub(crate) fn still_running(&mut self, after_ms: u64, container: &str, stdout: &str) {
        let at = &self.address;
        self.script.say(
            after_ms,
            format!(
                "Container [{container}] is still running on host [{at}]: \
                 stderr: [], stdout: [{stdout}]"
            ),
        );
    }

    /// A short-lived helper of rke-tools, from the image to its removal.
    pub(crate) fn helper(&mut self, images: &Images, plane: &str, container: &str) {
        self.image(5, &images.tools);
        self.starting(130, container);
        self.started(320, plane, container);
        self.removing(40, container);
        self.removed(130, container);
    }

    /// Removes a container if it is there.
    pub(crate) fn tear_down(&mut self, container: &str) {
        if self.exists(container) {
            self.removing(3, container);
            self.removed(130, container);
        }
    }

    /// A long-running component, until it is healthy and its log is linked.
    pub(crate) fn component(&mut self, images: &Images, plane: &str, name: &str, healthy_ms: u64) {
        let runs = self.host.runs(name);
        if !runs {
            self.image(8, &images.kubernetes);
            self.starting(35, name);
            self.started(160, plane, name);
            self.put(name, Container::Running);
        }
        self.await_health(name, if runs { 110 } else { healthy_ms });
        self.helper(images, plane, "rke-log-linker");
    }

    /// A component whose configuration changed: a new container takes the old one's place.
    pub(crate) fn replace(&mut self, images: &Images, plane: &str, name: &str, healthy_ms: u64) {
        let at = self.address.clone();
        self.checking(1, name);
        self.image(1, &images.kubernetes);
        self.checking(1, &format!("old-{name}"));
        self.script.say(1, format!("Stopping container [{name}] on host [{at}] with stopTimeoutDuration [5s], try #1"));
        self.waiting(5200, name);
        self.script.say(2, format!("Renaming container [{name}] to [old-{name}] on host [{at}], try #1"));
        self.starting(26, name);
        self.script.say(230, format!("[{plane}] Successfully updated [{name}] container on host [{at}]"));
        self.removing(1, &format!("old-{name}"));
        self.put(name, Container::Running);
        self.await_health(name, healthy_ms);
        self.helper(images, plane, "rke-log-linker");
    }

    fn await_health(&mut self, name: &str, healthy_ms: u64) {
        let at = &self.address;
        self.script.say(1, format!("[healthcheck] Start Healthcheck on service [{name}] on host [{at}]"));
        self.script.say(healthy_ms, format!("[healthcheck] service [{name}] on host [{at}] is healthy"));
    }

    /// The container that lends its volumes to the others.
    pub(crate) fn sidekick(&mut self, images: &Images) {
        self.checking(2, "service-sidekick");
        if self.exists("service-sidekick") {
            let at = &self.address;
            self.script.say(12, format!("[sidekick] Sidekick container already created on host [{at}]"));
        } else {
            self.image(1, &images.tools);
            self.put("service-sidekick", Container::Stopped);
        }
    }
}
