//! Whether a host can be worked on: SSH, forwarding, and Docker through it.

use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::failure::FailureClass as Class;

use super::super::docker::DockerFault;
use super::super::facts::Socket;
use super::super::needs::{self, Judged};
use super::{Check, Found};
use crate::ssh::SshFault;

pub(super) fn login(found: &Found) -> Check {
    match &found.exchanged {
        None => Check::ok("ssh", "logged in"),
        Some(record) => Check::warning(
            "ssh",
            format!(
                "logged in; it shows another host key than at {}: as nothing was built yet, the new one is taken",
                record.since
            ),
            "If the host was not set up anew since, find out who answers at this address before going on.",
        ),
    }
}

pub(super) fn forwarding(found: &Found) -> Check {
    match &found.forwarding {
        Ok(()) => Check::ok("forwarding", "sshd forwards connections"),
        Err(fault) => Check::ssh("forwarding", fault),
    }
}

pub(super) fn docker(spec: &ClusterSpec, found: &Found) -> Vec<Check> {
    let facts = match &found.docker {
        Ok(facts) => facts,
        // Where TCP is not forwarded, sshd opens no socket either, and says it like a socket that is not there.
        Err(DockerFault::Ssh(SshFault::NotOpened(_))) if matches!(found.forwarding, Err(SshFault::Forbidden(_))) => {
            let detail = "whether the SSH user may use Docker cannot be told while sshd forbids forwarding";
            return vec![Check::warning("docker", detail, "Let sshd forward connections first.")];
        }
        Err(DockerFault::Ssh(SshFault::NotOpened(socket))) => return vec![closed(socket, found)],
        Err(DockerFault::Ssh(fault)) => {
            let check = Check::ssh("docker", fault);
            let detail = DockerFault::Ssh(fault.clone()).to_string();
            return vec![Check { class: Some(Class::Docker), detail, ..check }];
        }
        Err(fault) => {
            let remedy = "See what listens at /var/run/docker.sock on the host; it must be Docker itself.";
            return vec![Check::failed("docker", Class::Docker, fault.to_string(), remedy)];
        }
    };
    let access = Check::ok("docker", "the SSH user may use Docker");
    let (taken, _) = needs::docker_versions(&spec.kubernetes_version);
    let list = taken.iter().map(|(major, minor)| format!("{major}.{minor}")).collect::<Vec<_>>().join(", ");
    let version = &facts.version;
    let judged = match needs::judge_docker(version, &spec.kubernetes_version) {
        Judged::Taken => Check::ok("docker_version", format!("Docker {version}")),
        Judged::Unknown => Check::warning(
            "docker_version",
            format!("Docker {version} is newer than what is known of RKE; this `rke` will take it or say so"),
            format!("Known to be taken for {}: {list}.", spec.kubernetes_version),
        ),
        Judged::Refused => Check::failed(
            "docker_version",
            Class::Docker,
            format!("RKE does not take Docker {version} for {}", spec.kubernetes_version),
            format!("Install a version that it takes: {list}."),
        ),
    };
    vec![access, judged]
}

/// Why Docker's socket does not open over SSH: sshd does not tell, but the probe saw it from within.
fn closed(socket: &str, found: &Found) -> Check {
    let seen = found.facts.as_ref().ok().and_then(|facts| facts.docker_socket);
    let failed = |detail: String, remedy: &str| Check::failed("docker", Class::Docker, detail, remedy);
    match seen {
        Some(Socket::Open) => {
            let fault = SshFault::Forbidden("the forwarding of sockets, over which RKE uses Docker");
            failed(fault.to_string(), fault.remedy())
        }
        Some(Socket::Closed) => failed(
            format!("the SSH user may not use Docker: {socket} is closed to it"),
            "Add the SSH user to the group docker (`usermod -aG docker USER`).",
        ),
        Some(Socket::Missing) => failed(
            format!("Docker does not run: there is no {socket}"),
            "Install Docker and start it (`systemctl enable --now docker`).",
        ),
        None => {
            let fault = SshFault::NotOpened(socket.to_owned());
            Check { detail: DockerFault::Ssh(fault.clone()).to_string(), ..Check::ssh("docker", &fault) }
        }
    }
}
