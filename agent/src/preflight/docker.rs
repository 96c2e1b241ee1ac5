//! Docker on a host, asked as `rke` asks it: over a socket that SSH forwards.
//!
//! What works here works for `rke`: the user's right to the socket, sshd's leave to forward, Docker's
//! version. The same way tells which containers of RKE there are, and which CA they work with.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::time::timeout;

use super::facts::certificate_of_pem;
use crate::ssh::session::quote;
use crate::ssh::{Session, SshFault};

/// Where `rke` expects Docker's socket.
pub const SOCKET: &str = "/var/run/docker.sock";
/// Longest answer of Docker. A host with ten thousand containers says less.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// For one question. A busy Docker needs seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Label of RKE's containers.
const RKE_LABEL: &str = "io.rancher.rke.container.name";
/// RKE's containers that see the cluster's certificates.
const WITH_CERTIFICATES: [&str; 4] = ["kubelet", "kube-apiserver", "etcd", "kube-proxy"];
/// RKE's containers; those of old releases carry no label.
const RKE_NAMES: [&str; 9] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "nginx-proxy",
    "service-sidekick",
    "etcd-rolling-snapshots",
];
/// Name of the CA's certificate on a host.
const CA_PATH: &str = "/etc/kubernetes/ssl/kube-ca.pem";

/// A container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether RKE made it: a part of Kubernetes, not a pod.
    pub of_rke: bool,
}

/// What Docker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerFacts {
    /// Its version.
    pub version: String,
    /// Where it keeps its data.
    pub root_dir: String,
    /// Which control groups it uses; `1` or `2`.
    pub cgroup_version: String,
    /// All containers.
    pub containers: Vec<Container>,
    /// SHA-256 of the CA that RKE's containers work with, lower-case hex.
    pub ca_sha256: Option<String>,
}

impl DockerFacts {
    /// True when a container with such a name runs.
    #[must_use]
    pub fn runs(&self, is_it: impl Fn(&str) -> bool) -> bool {
        self.containers.iter().any(|container| container.running && is_it(&container.name))
    }
}

/// Why Docker says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DockerFault {
    /// It cannot be reached.
    #[error("{}", not_reached(.0))]
    Ssh(SshFault),
    /// What answers is not Docker.
    #[error("what answers at Docker's socket is not Docker: {0}")]
    NotDocker(String),
}

fn not_reached(fault: &SshFault) -> String {
    match fault {
        SshFault::NotOpened(socket) => {
            format!("the SSH user may not use Docker, or it does not run: {socket} does not open")
        }
        SshFault::TooLong(seconds) => format!("Docker does not answer within {seconds} s"),
        other => other.to_string(),
    }
}

/// Asks Docker at a socket of the host.
///
/// # Errors
/// [`DockerFault`].
pub async fn ask(session: &Session, socket: &str) -> Result<DockerFacts, DockerFault> {
    let info: Info = parse(&get(session, socket, "/info").await?)?;
    let listed: Vec<Listed> = parse(&get(session, socket, "/containers/json?all=1").await?)?;
    let containers: Vec<Container> = listed.into_iter().map(Container::from).collect();
    let mut facts = DockerFacts {
        version: quote(&info.server_version),
        root_dir: quote(&info.docker_root_dir),
        cgroup_version: quote(&info.cgroup_version),
        containers,
        ca_sha256: None,
    };
    for name in WITH_CERTIFICATES {
        if facts.ca_sha256.is_none() && facts.containers.iter().any(|c| c.of_rke && c.name == name) {
            let path = format!("/containers/{name}/archive?path={CA_PATH}");
            // A container that does not see the file is no fault; another one may.
            facts.ca_sha256 = get(session, socket, &path).await.ok().and_then(|tar| ca_in(&tar));
        }
    }
    Ok(facts)
}

async fn get(session: &Session, socket: &str, path: &str) -> Result<Bytes, DockerFault> {
    let asked = timeout(PATIENCE, get_patiently(session, socket, path)).await;
    asked.unwrap_or_else(|_| Err(DockerFault::Ssh(SshFault::TooLong(PATIENCE.as_secs()))))
}

async fn get_patiently(session: &Session, socket: &str, path: &str) -> Result<Bytes, DockerFault> {
    let odd = |error: &dyn std::fmt::Display| DockerFault::NotDocker(quote(&error.to_string()));
    let stream = session.open_socket(socket, PATIENCE).await.map_err(DockerFault::Ssh)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| odd(&e))?;
    let request = Request::get(path).header(header::HOST, "docker").header(header::CONNECTION, "close");
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| odd(&e))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|e| odd(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MOST_BYTES).collect().await.map_err(|e| odd(&e))?;
        match status {
            StatusCode::OK => Ok(body.to_bytes()),
            other => Err(odd(&format!("status {other}"))),
        }
    };
    let (answer, _the_connection_ends_with_it) = tokio::join!(answer, connection);
    answer
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DockerFault> {
    serde_json::from_slice(body).map_err(|error| DockerFault::NotDocker(quote(&error.to_string())))
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "ServerVersion", default)]
    server_version: String,
    #[serde(rename = "DockerRootDir", default)]
    docker_root_dir: String,
    #[serde(rename = "CgroupVersion", default)]
    cgroup_version: String,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Names", default)]
    names: Vec<String>,
    #[serde(rename = "State", default)]
    state: String,
    #[serde(rename = "Labels", default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

impl From<Listed> for Container {
    fn from(listed: Listed) -> Self {
        let name = quote(listed.names.first().map_or("", |name| name.trim_start_matches('/')));
        let labelled = listed.labels.is_some_and(|labels| labels.contains_key(RKE_LABEL));
        Self { of_rke: labelled || RKE_NAMES.contains(&name.as_str()), running: listed.state == "running", name }
    }
}

/// The CA's certificate in a tar of one file.
fn ca_in(tar: &[u8]) -> Option<String> {
    let header = tar.get(..512)?;
    let size = std::str::from_utf8(header.get(124..136)?).ok()?;
    let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).ok()?;
    let content = tar.get(512..512_usize.checked_add(size)?)?;
    certificate_of_pem(std::str::from_utf8(content).ok()?)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A tar with one file.
    pub(crate) fn tar(content: &[u8]) -> Vec<u8> {
        let mut header = vec![0_u8; 512];
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        [header, content.to_vec(), vec![0; 1024]].concat()
    }

    #[test]
    fn containers_of_rke_are_known_by_label_or_by_name() {
        let json = r#"[{"Names":["/kubelet"],"State":"running","Labels":{}},
            {"Names":["/new-thing"],"State":"exited","Labels":{"io.rancher.rke.container.name":"new-thing"}},
            {"Names":["/k8s_POD_x"],"State":"running","Labels":null},{"Names":[]}]"#;
        let found: Vec<Container> =
            parse::<Vec<Listed>>(json.as_bytes()).unwrap().into_iter().map(Into::into).collect();
        let told: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.of_rke, c.running)).collect();
        assert_eq!(
            told,
            [("kubelet", true, true), ("new-thing", true, false), ("k8s_POD_x", false, true), ("", false, false)]
        );
    }

    #[test]
    fn the_ca_is_found_in_what_docker_archives() {
        let pem = b"-----BEGIN CERTIFICATE-----\nZm9v\n-----END CERTIFICATE-----\n";
        assert!(ca_in(&tar(pem)).unwrap().starts_with("2c26b46b"));
        assert_eq!(ca_in(&tar(b"nothing")), None);
        assert_eq!(ca_in(b"short"), None);
    }

    proptest! {
        #[test]
        fn no_archive_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
            let _either = ca_in(&bytes);
        }
    }
}
