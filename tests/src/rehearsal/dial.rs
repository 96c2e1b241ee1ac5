//! Opening a tunnel to every host: who answers, who does not, and in what words.
//!
//! The wording of each fault is recorded; note how misleading a refused port sounds. Whether a
//! lost host matters is for the callers: it depends on the command and on the roles.

use super::fault::Kind;
use super::fleet::HostFault;
use super::spec::{Node, Role};
use super::stage::{Options, Script, Stage, Stop};

const SOCKET: &str = "Get \"http://%2Fvar%2Frun%2Fdocker.sock/v1.24/info\"";
const DOCKER_VERSIONS: &str = "[1.13.x 17.03.x 17.06.x 17.09.x 18.06.x 18.09.x 19.03.x 20.10.x]";

/// Tries every host. Those that do not answer are named in the output and handed back.
pub(crate) fn dial(stage: &mut Stage, nodes: &[Node]) -> Result<Vec<Node>, Stop> {
    let calls = nodes
        .iter()
        .map(|node| {
            let mut script = Script::new();
            script.say(60, setup(node));
            script
        })
        .collect();
    stage.parallel(calls)?;
    let mut lost = Vec::new();
    for node in nodes {
        let Some(fault) = unreachable(stage, node) else {
            continue;
        };
        stage.wait(patience_ms(fault));
        stage.warn(
            1,
            &format!("Failed to set up SSH tunneling for host [{}]: {}", node.address, complaint(fault, node)),
        )?;
        lost.push(node.clone());
    }
    for node in &lost {
        stage.warn(1, &format!("Removing host [{}] from node lists", node.address))?;
    }
    Ok(lost)
}

/// The line with which every attempt begins.
pub(crate) fn setup(node: &Node) -> String {
    format!("[dialer] Setup tunnel for host [{}]", node.address)
}

/// Why this host cannot be reached now, if so.
pub(crate) fn unreachable(stage: &Stage, node: &Node) -> Option<HostFault> {
    stage.fleet.host(&node.address).fault.filter(|fault| fault.cuts_off())
}

/// Hosts that a `skip_host` fault takes out of this run count as not reachable.
pub(crate) fn skipped(stage: &mut Stage, nodes: &[Node]) -> Vec<Node> {
    nodes
        .iter()
        .filter(|node| {
            stage.take_fault(|kind| matches!(kind, Kind::SkipHost { address } if *address == node.address)).is_some()
        })
        .cloned()
        .collect()
}

/// The refusal of an unsupported Docker, if any host has one and nobody said to ignore it.
pub(crate) fn docker_refusal(stage: &Stage, nodes: &[Node], options: &Options) -> Option<String> {
    if options.ignore_docker_version {
        return None;
    }
    nodes.iter().find(|node| stage.fleet.host(&node.address).fault == Some(HostFault::DockerVersion)).map(|node| {
        format!(
            "Unsupported Docker version found [26.1.4-ce+lab0] on host [{}], \
                 supported versions are {DOCKER_VERSIONS}",
            node.address
        )
    })
}

/// What rke says when no etcd host is left, given those it lost on the way.
pub(crate) fn no_etcd(lost: &[Node]) -> String {
    let names: Vec<&str> = lost.iter().filter(|node| node.is(Role::Etcd)).map(|node| node.address.as_str()).collect();
    let why = if names.is_empty() {
        "please specify one or more etcd in cluster config".to_owned()
    } else {
        format!("failed to connect to the following etcd host(s) [{}]", names.join(","))
    };
    format!("Cluster must have at least one etcd plane host: {why}")
}

fn patience_ms(fault: HostFault) -> u64 {
    match fault {
        HostFault::Blackhole => 134_000,
        HostFault::NoRoute => 14_000,
        HostFault::Refused => 20,
        _ => 150,
    }
}

/// The words for a host that does not answer.
pub(crate) fn complaint(fault: HostFault, node: &Node) -> String {
    let at = format!("{}:{}", node.address, node.port);
    let access = format!(
        "Can't retrieve Docker Info: error during connect: {SOCKET}: \
         Unable to access node with address [{at}] using SSH. "
    );
    let call = format!(
        "Can't retrieve Docker Info: error during connect: {SOCKET}: \
         Failed to dial ssh using address [{at}]: "
    );
    match fault {
        HostFault::Blackhole => format!("{call}dial tcp {at}: connect: connection timed out"),
        HostFault::NoRoute => format!("{call}dial tcp {at}: connect: no route to host"),
        HostFault::WrongKey | HostFault::UnknownUser => format!(
            "{access}Please check if you are able to SSH to the node using the specified SSH \
             Private Key and if you have configured the correct SSH username. Error: ssh: \
             handshake failed: ssh: unable to authenticate, attempted methods [none publickey], \
             no supported methods remain"
        ),
        HostFault::NoDocker => format!(
            "Can't retrieve Docker Info: error during connect: {SOCKET}: \
             Unable to access the service on /var/run/docker.sock. The service might be still \
             starting up. Error: ssh: rejected: connect failed (open failed)"
        ),
        HostFault::EncryptedKey => {
            format!("{call}Error configuring SSH: ssh: this private key is passphrase protected")
        }
        HostFault::GarbageKey => format!(
            "{access}Please check if the configured key or specified key file is a valid SSH \
             Private Key. Error: Error configuring SSH: ssh: no key found"
        ),
        _ => "Can't retrieve Docker Info: Cannot connect to the Docker daemon at \
              unix:///var/run/docker.sock. Is the docker daemon running?"
            .to_owned(),
    }
}
