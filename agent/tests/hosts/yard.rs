//! A yard of hosts: each an sshd of its own, with staged files, commands and a Docker.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};

use cratekube_agent::preflight::{Place, Settings};
use cratekube_agent::ssh::Credentials;
use cratekube_common::domain::cluster::intake;
use cratekube_common::domain::cluster::spec::{ClusterSpec, NodeRole};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// Ample for a machine that has a hundred other things to do.
pub(crate) const PATIENT: cratekube_agent::ssh::session::Patience = cratekube_agent::ssh::session::Patience {
    connect: std::time::Duration::from_secs(60),
    login: std::time::Duration::from_secs(300),
    look: std::time::Duration::from_secs(300),
};

/// Commands that could look at this machine's state or change it: all have stand-ins.
const RISKY: [&str; 19] = [
    "docker",
    "ip",
    "ipset",
    "umount",
    "sudo",
    "df",
    "timeout",
    "iptables-save",
    "iptables-restore",
    "iptables-legacy-save",
    "iptables-legacy-restore",
    "iptables-nft-save",
    "iptables-nft-restore",
    "ip6tables-save",
    "ip6tables-restore",
    "ip6tables-legacy-save",
    "ip6tables-legacy-restore",
    "ip6tables-nft-save",
    "ip6tables-nft-restore",
];

/// Where sshd is; none, having said so, when there is none here.
pub(crate) fn sshd(name: &str) -> Option<PathBuf> {
    let found =
        ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"].into_iter().map(PathBuf::from).find(|p| p.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must have sshd (package openssh-server)");
        println!("SKIPPED {name}: there is no sshd here (package openssh-server)");
    }
    found
}

/// A folder for hosts and keys.
pub(crate) struct Yard {
    pub(crate) dir: TempDir,
    sshd: PathBuf,
}

/// What a host's Docker says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Docker {
    pub(crate) version: String,
    /// Names; those of RKE are known by their names.
    pub(crate) running: Vec<String>,
    /// PEM of the CA that RKE's containers see.
    pub(crate) ca: Option<String>,
}

/// A host.
pub(crate) struct Host {
    pub(crate) address: String,
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
    pub(crate) docker: Arc<Mutex<Docker>>,
    sshd: PathBuf,
    child: Option<Child>,
}

impl Yard {
    /// A yard; none where there is no sshd.
    pub(crate) fn open(name: &str) -> Option<Self> {
        let sshd = sshd(name)?;
        let dir = tempfile::tempdir().unwrap();
        // sshd that runs as root wants its empty folder.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let yard = Self { dir, sshd };
        yard.key("id", "ed25519", "");
        yard.key("host", "ed25519", "");
        fs::create_dir_all(yard.working()).unwrap();
        Some(yard)
    }

    /// Makes a key.
    pub(crate) fn key(&self, name: &str, kind: &str, passphrase: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let done =
            Command::new("ssh-keygen").args(["-q", "-t", kind, "-N", passphrase, "-f"]).arg(&path).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        path
    }

    pub(crate) fn working(&self) -> PathBuf {
        self.dir.path().join("cluster/working")
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials::from_file(&self.dir.path().join("id")).unwrap()
    }

    /// A host that is well: it lets the yard's key in, and has what RKE needs.
    pub(crate) fn host(&self, number: u8) -> Host {
        let address = format!("127.0.1.{number}");
        let dir = self.dir.path().join(format!("host-{number}"));
        for part in
            ["bin", "root/proc/net", "root/proc/self", "root/proc/sys/kernel/random", "root/etc", "root/sys/class/net"]
        {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        let port = TcpListener::bind((address.as_str(), 0)).unwrap().local_addr().unwrap().port();
        let docker = Arc::new(Mutex::new(Docker { version: "24.0.7".into(), ..Docker::default() }));
        fs::copy(self.dir.path().join("id.pub"), dir.join("authorized_keys")).unwrap();
        fs::copy(self.dir.path().join("host"), dir.join("host_key")).unwrap();
        let host = Host { address, port, dir, docker, sshd: self.sshd.clone(), child: None };
        host.furnish(number);
        host
    }

    /// A host that is well, and up.
    pub(crate) fn up(&self, number: u8) -> Host {
        let mut host = self.host(number);
        host.start();
        host
    }

    /// How these hosts are reached.
    pub(crate) fn settings(&self, hosts: &[Host]) -> Settings {
        let mut settings = Settings::new(self.credentials());
        settings.patience = PATIENT;
        settings.places = hosts.iter().map(|host| (host.address.clone(), host.place())).collect::<BTreeMap<_, _>>();
        settings
    }
}

/// A cluster on these hosts: the first three have all roles, the others are workers.
pub(crate) fn spec(hosts: &[Host]) -> ClusterSpec {
    let node = json!({"address": "10.0.0.1", "roles": ["controlplane", "etcd", "worker"]});
    let read = intake::read(&json!({"kubernetes_version": "v1.28.12-rancher1-1", "nodes": [node], "ssh_user": user()}));
    let mut spec = read.unwrap().0;
    spec.nodes = vec![spec.nodes[0].clone(); hosts.len()];
    for (at, (node, host)) in spec.nodes.iter_mut().zip(hosts).enumerate() {
        (node.address, node.port) = (host.address.clone(), host.port);
        if at > 2 {
            node.roles = vec![NodeRole::Worker];
        }
    }
    spec
}

/// Who runs the tests.
pub(crate) fn user() -> String {
    let said = Command::new("id").arg("-un").output().unwrap().stdout;
    String::from_utf8(said).unwrap().trim().to_owned()
}

impl Host {
    fn furnish(&self, number: u8) {
        self.file("etc/os-release", "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n");
        self.file("etc/machine-id", &format!("machine-{number}\n"));
        self.file("proc/sys/kernel/random/boot_id", &format!("boot-{number}\n"));
        self.file("proc/cpuinfo", "processor : 0\nprocessor : 1\n");
        self.file("proc/meminfo", "MemTotal:        8000000 kB\n");
        self.file("proc/swaps", "Filename Type Size Used Priority\n");
        self.file("proc/self/mounts", "/dev/sda1 / ext4 rw 0 0\n");
        self.listening(&[22]);
        RISKY.iter().for_each(|name| self.command(name, "exit 1"));
        self.free_gib(100);
        self.command("timeout", "echo 'Connection refused' >&2; exit 1");
        self.command(
            "uname",
            &format!("case \"$1\" in -n) echo node-{number} ;; -r) echo 6.1.0 ;; *) echo x86_64 ;; esac"),
        );
    }

    /// Puts a file on the host.
    pub(crate) fn file(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path.trim_start_matches('/'))
    }

    /// Puts a command on the host; `$HERE` is the host's folder.
    pub(crate) fn command(&self, name: &str, script: &str) {
        let path = self.dir.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nHERE='{}'\n{script}\n", self.dir.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn free_gib(&self, free: u64) {
        let free = free * 1024 * 1024;
        self.command("df", &format!("echo 'Filesystem 1024-blocks Used Available Capacity Mounted on'; echo '/dev/sda1 209715200 1 {free} 1% /'"));
    }

    /// TCP ports that something listens on.
    pub(crate) fn listening(&self, ports: &[u16]) {
        let line = |port: &u16| format!("   0: 00000000:{port:04X} 00000000:0000 0A 00000000:00000000\n");
        let lines: String = ports.iter().map(line).collect();
        self.file(
            "proc/net/tcp",
            &format!("  sl  local_address rem_address   st\n{lines}   1: 0100007F:1F90 0100007F:0016 01 0:0\n"),
        );
        self.file("proc/net/tcp6", "  sl  local_address rem_address   st\n");
    }

    pub(crate) fn place(&self) -> Place {
        Place {
            docker_socket: self.dir.join("docker.sock").display().to_string(),
            root: self.dir.join("root").display().to_string(),
            patience: None,
        }
    }

    pub(crate) fn start(&mut self) {
        self.start_with("");
    }

    /// Starts sshd, with more settings.
    pub(crate) fn start_with(&mut self, more: &str) {
        let (dir, address, port) = (self.dir.display(), &self.address, self.port);
        fs::set_permissions(self.dir.join("host_key"), fs::Permissions::from_mode(0o600)).unwrap();
        let config = format!(
            "{more}\nListenAddress {address}:{port}\nHostKey {dir}/host_key\nAuthorizedKeysFile {dir}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nMaxStartups 200\nLogLevel INFO\nSetEnv HOME={dir} PATH={dir}/bin:/usr/bin:/bin\n\
             ForceCommand env PATH={dir}/bin:/usr/bin:/bin /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"\n"
        );
        // The stand-ins come first whatever the start files of the user's shell say.
        fs::write(self.dir.join("sshd_config"), config).unwrap();
        let mut child = Command::new(&self.sshd)
            .args(["-D", "-e", "-f"])
            .arg(self.dir.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, listens) = mpsc::channel();
        let errors = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(told.send(line))));
        let mut said = Vec::new();
        while !said.last().is_some_and(|line: &String| line.contains("Server listening")) {
            match listens.recv() {
                Ok(line) => said.push(line),
                Err(_) => panic!("sshd does not start: {said:#?}"),
            }
        }
        self.child = Some(child);
        self.serve_docker();
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Answers what is asked of Docker over its socket.
    fn serve_docker(&self) {
        let path = self.dir.join("docker.sock");
        if path.exists() {
            return;
        }
        let (listener, docker) = (UnixListener::bind(&path).unwrap(), Arc::clone(&self.docker));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let docker = docker.lock().unwrap().clone();
                tokio::spawn(async move {
                    let mut asked = Vec::new();
                    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
                        let mut some = [0; 1024];
                        match stream.read(&mut some).await {
                            Ok(read) if read > 0 => asked.extend_from_slice(&some[..read]),
                            _ => return,
                        }
                    }
                    let (status, body) = answer(&docker, &String::from_utf8_lossy(&asked));
                    let head =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    let _gone = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                });
            }
        });
    }

    /// A file on the host whose readers wait until the host is gone.
    pub(crate) fn fifo(&self) -> PathBuf {
        let path = self.dir.join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    pub(crate) fn without_docker(&self) {
        let _none = fs::remove_file(self.dir.join("docker.sock"));
    }
}

fn answer(docker: &Docker, asked: &str) -> (&'static str, Vec<u8>) {
    let path = asked.split_whitespace().nth(1).unwrap_or_default();
    let container = |name: &String| json!({"Names": [format!("/{name}")], "State": "running", "Labels": {}});
    match (path, &docker.ca) {
        ("/info", _) => {
            let info =
                json!({"ServerVersion": docker.version, "DockerRootDir": "/var/lib/docker", "CgroupVersion": "2"});
            ("200 OK", info.to_string().into_bytes())
        }
        ("/containers/json?all=1", _) => {
            let all: Vec<_> = docker.running.iter().map(container).collect();
            ("200 OK", json!(all).to_string().into_bytes())
        }
        ("/containers/kubelet/archive?path=/etc/kubernetes/ssl/kube-ca.pem", Some(pem)) => {
            ("200 OK", tar(pem.as_bytes()))
        }
        _ => ("404 Not Found", b"{\"message\":\"no such container\"}".to_vec()),
    }
}

/// A tar with one file.
fn tar(content: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    [header, content.to_vec(), vec![0; 1024]].concat()
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop();
        // Who reads the fifo is let go.
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        let _nobody = rustix::fs::open(self.dir.join("fifo"), flags, rustix::fs::Mode::empty());
    }
}

/// Everything in a folder: paths and, of files, contents.
pub(crate) fn tree(at: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![at.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(at).unwrap().display().to_string();
            if entry.file_type().unwrap().is_dir() {
                found.insert(name, Vec::new());
                todo.push(path);
            } else {
                found.insert(name, fs::read(&path).unwrap_or_default());
            }
        }
    }
    found
}
