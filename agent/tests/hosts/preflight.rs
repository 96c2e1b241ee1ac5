//! Hosts are looked at before `rke` begins.

use std::fs;
use std::time::Duration;

use cratekube_agent::preflight::{self, Looked};
use cratekube_agent::ssh::known;
use cratekube_agent::ssh::session::Patience;
use cratekube_common::domain::failure::FailureClass as Class;
use cratekube_common::runtime::clock;
use cratekube_common::runtime::tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::yard::{Host, Yard, spec, tree, user};

async fn look(yard: &Yard, hosts: &[Host]) -> Looked {
    preflight::look(&spec(hosts), &yard.working(), &yard.settings(hosts), &clock::system()).await
}

/// The check of a host, as its result and detail.
fn check(looked: &Looked, host: usize, name: &str) -> (String, String) {
    let checks = looked.findings["hosts"][host]["checks"].as_array().unwrap();
    let Some(check) = checks.iter().find(|check| check["name"] == name) else { return Default::default() };
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(check["result"] == "ok", check.get("remedy").is_none(), "what is not ok has a remedy: {check}");
    assert_eq!(check["result"] == "failed", check.get("class").is_some(), "what failed has a class: {check}");
    (text("result"), text("detail"))
}

fn failed_checks(looked: &Looked, host: usize) -> Vec<String> {
    let checks = looked.findings["hosts"][host]["checks"].as_array().unwrap();
    checks.iter().filter(|c| c["result"] == "failed").map(|c| c["name"].as_str().unwrap().to_owned()).collect()
}

/// A CA: fingerprint, certificate, and a state of RKE with it.
fn ca(name: &str) -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    let half = json!({
        "rkeConfig": {"nodes": [{"address": "127.0.1.2", "role": ["etcd"]}], "kubernetesVersion": "v1.28.12-rancher1-1"},
        "certificatesBundle": {"kube-ca": {"certificatePEM": certificate.pem(), "keyPEM": key.serialize_pem()}},
    });
    let state = json!({"desiredState": half, "currentState": half}).to_string();
    (tls::fingerprint(certificate.der()), certificate.pem(), state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_hosts_that_are_well_are_looked_at_at_once() {
    let Some(yard) = Yard::open("fifty_hosts_that_are_well") else { return };
    let hosts: Vec<Host> = (2..52).map(|number| yard.up(number)).collect();
    let looked = look(&yard, &hosts).await;
    assert_eq!(looked.failure, None, "{:#?}", looked.lines);
    assert_eq!(looked.warnings, Vec::<String>::new());
    let told = looked.findings["hosts"].as_array().unwrap();
    assert_eq!(told.len(), 50);
    for (told, host) in told.iter().zip(&hosts) {
        assert_eq!(told["address"], host.address);
        assert_eq!(told["facts"]["docker"]["version"], "24.0.7");
        assert_eq!(told["facts"]["user"], user());
        assert_eq!(told["facts"]["os"], "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(told["facts"]["cpus"], 2);
        assert_eq!(told["facts"]["disk_docker"]["mount"], "/");
    }
    assert!(looked.lines[0].contains("ready: Debian GNU/Linux 12 (bookworm), kernel 6.1.0, x86_64, Docker 24.0.7"));
}

/// What is staged on a host, and what is then told.
type Fault = (fn(&mut Host), &'static str, Class, &'static str);

const FAULTS: [Fault; 15] = [
    (|host| host.start_with("AllowUsers nobody-else"), "ssh", Class::Auth, "SSH refuses user"),
    (
        |host| {
            fs::write(host.dir.join("authorized_keys"), "").unwrap();
            host.start();
        },
        "ssh",
        Class::Auth,
        "with the key SHA256:",
    ),
    (
        |host| host.start_with("AllowTcpForwarding no"),
        "forwarding",
        Class::Docker,
        "sshd forbids the forwarding of TCP",
    ),
    (
        |host| host.start_with("AllowStreamLocalForwarding no"),
        "docker",
        Class::Docker,
        "sshd forbids the forwarding of sockets",
    ),
    (
        |host| {
            host.start();
            host.without_docker();
        },
        "docker",
        Class::Docker,
        "Docker does not run: there is no /",
    ),
    (
        |host| {
            // Somebody else's: `test -w` says no. Root may write everywhere, so that it is staged.
            host.command("sh", "sed 's/\\[ -w \"$socket\" \\]/false/' | /bin/sh -s");
            host.start_with("AllowStreamLocalForwarding no");
        },
        "docker",
        Class::Docker,
        "the SSH user may not use Docker: /",
    ),
    (
        |host| {
            host.docker.lock().unwrap().version = "18.02.0".into();
            host.start();
        },
        "docker_version",
        Class::Docker,
        "RKE does not take Docker 18.02.0 for v1.28.12-rancher1-1",
    ),
    (
        |host| {
            host.free_gib(3);
            host.start();
        },
        "disk_docker",
        Class::Host,
        "3.0 GiB of 200.0 GiB are free for Docker's data on /",
    ),
    (
        |host| {
            host.command("date", "echo $(($(/bin/date +%s) - 7200))");
            host.start();
        },
        "clock",
        Class::Host,
        "behind the bastion's",
    ),
    (
        |host| {
            host.listening(&[22, 6443, 10250]);
            host.start();
        },
        "ports",
        Class::Host,
        "in use by something that is not RKE's: 6443, 10250",
    ),
    (
        |host| {
            // Nothing comes back from the first host's API.
            host.command(
                "timeout",
                "[ \"$5:$6\" = 127.0.1.2:6443 ] && exit 124; echo 'Connection refused' >&2; exit 1",
            );
            host.start();
        },
        "reach",
        Class::Network,
        "from here 127.0.1.2:6443 does not answer",
    ),
    (
        |host| {
            host.file("etc/rancher/k3s/config.yaml", "");
            host.start();
        },
        "leftovers",
        Class::Host,
        "it carries another cluster: it was set up by k3s",
    ),
    (
        |host| {
            host.docker.lock().unwrap().running = vec!["kube-apiserver".into(), "shop".into()];
            host.start();
        },
        "leftovers",
        Class::Host,
        "containers of RKE are there: kube-apiserver",
    ),
    (
        |host| {
            host.command("sh", "printf '\\033[2J\\342\\200\\256evil\\n'; exit 1");
            host.start();
        },
        "probe",
        Class::Host,
        "\\u{1b}[2J\\u{202e}evil",
    ),
    (
        |host| {
            host.command("sh", "exec yes");
            host.start();
        },
        "probe",
        Class::Host,
        "it prints without end",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_faults_of_all_hosts_are_told_at_once_each_with_its_class_and_remedy() {
    let Some(yard) = Yard::open("all_faults_of_all_hosts") else { return };
    let mut hosts = vec![yard.up(2)];
    for (at, (stage, ..)) in FAULTS.iter().enumerate() {
        let mut host = yard.host(u8::try_from(at + 3).unwrap());
        stage(&mut host);
        hosts.push(host);
    }
    // Never started: the port is closed. And one that accepts and says nothing, one that hangs in the probe.
    hosts.push(yard.host(100));
    let mute = yard.host(101);
    let listener = std::net::TcpListener::bind((mute.address.as_str(), mute.port)).unwrap();
    hosts.push(mute);
    let hanging = yard.host(102);
    hanging.fifo();
    hanging.command("df", "cat \"$HERE/fifo\"");
    hosts.push(hanging);
    hosts.last_mut().unwrap().start();

    let mut settings = yard.settings(&hosts);
    let short = Patience { login: Duration::from_millis(100), ..settings.patience };
    settings.places.get_mut("127.0.1.101").unwrap().patience = Some(short);
    let short = Patience { look: Duration::from_millis(100), ..settings.patience };
    settings.places.get_mut("127.0.1.102").unwrap().patience = Some(short);
    let looked = preflight::look(&spec(&hosts), &yard.working(), &settings, &clock::system()).await;
    drop(listener);

    assert_eq!(failed_checks(&looked, 0), Vec::<String>::new(), "{:#?}", looked.lines);
    let checks_of = |host: usize| looked.findings["hosts"][host]["checks"].as_array().unwrap().clone();
    for (at, (_, name, class, detail)) in FAULTS.iter().enumerate() {
        assert_eq!(failed_checks(&looked, at + 1), [*name], "host {at}: {:#?}", checks_of(at + 1));
        let (_, found) = check(&looked, at + 1, name);
        assert!(found.contains(detail), "{found:?} does not say {detail:?}");
        let told = checks_of(at + 1).into_iter().find(|check| check["name"] == *name).unwrap();
        assert_eq!(told["class"], json!(class), "{told}");
    }
    let unreachable = FAULTS.len() + 1;
    assert!(check(&looked, unreachable, "ssh").1.contains("refuses connections"));
    assert!(check(&looked, unreachable + 1, "ssh").1.contains("says nothing"));
    assert!(check(&looked, unreachable + 2, "ssh").1.contains("not done within"));

    let failure = looked.failure.unwrap();
    assert!(failure.message.starts_with("18 of 19 hosts are not ready: 127.0.1.3: SSH refuses user"), "{failure:?}");
    assert!(failure.message.contains("and 8 more hosts") && !failure.retryable && !failure.remedy.is_empty());
    assert!(!failure.message.contains('\u{1b}') && !failure.message.contains('\u{202e}'));
}

#[tokio::test]
async fn what_will_be_regretted_is_a_warning() {
    let Some(yard) = Yard::open("what_will_be_regretted") else { return };
    let hosts = [yard.up(2), yard.up(3)];
    hosts[0].file("proc/swaps", "Filename Type Size Used Priority\n/swapfile file 1 1 -2\n");
    hosts[0].file("var/lib/kubelet/pods/x", "");
    hosts[0].file("etc/machine-id", "cloned\n");
    hosts[1].file("etc/machine-id", "cloned\n");
    hosts[1].command("date", "echo $(($(/bin/date +%s) + 20))");
    hosts[1].docker.lock().unwrap().version = "29.0.0".into();
    let looked = look(&yard, &hosts).await;
    assert_eq!(looked.failure, None);
    let warned = |host, name| {
        let (result, detail) = check(&looked, host, name);
        assert_eq!(result, "warning", "{name}: {detail}");
        detail
    };
    assert_eq!(warned(0, "swap"), "swap is on");
    assert!(warned(0, "leftovers").contains("/var/lib/kubelet was left"));
    assert!(warned(0, "identity").contains("made from one image"));
    assert!(warned(1, "clock").contains("ahead of"));
    assert!(warned(1, "docker_version").contains("newer than what is known"));
    assert!(looked.warnings.iter().any(|warning| warning == "127.0.1.2: swap is on"));
}

#[tokio::test]
async fn two_names_of_one_machine_are_told() {
    let Some(yard) = Yard::open("two_names_of_one_machine") else { return };
    let hosts = [yard.up(2), yard.up(3)];
    hosts[1].file("proc/sys/kernel/random/boot_id", "boot-2\n");
    let looked = look(&yard, &hosts).await;
    assert_eq!(check(&looked, 0, "identity").1, "it is the same machine as 127.0.1.3");
    assert_eq!(looked.failure.unwrap().class, Class::Config);
}

#[tokio::test]
async fn a_cluster_that_stands_passes_and_one_that_is_foreign_does_not() {
    let Some(yard) = Yard::open("a_cluster_that_stands_passes") else { return };
    let host = yard.up(2);
    let ((_, own, state), (_, foreign, _)) = (ca("web"), ca("other"));
    let parts = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"];
    let mut running: Vec<String> = parts.iter().map(ToString::to_string).collect();
    running.push("k8s_controller_nginx-ingress-controller-1_ingress-nginx_2_0".into());
    *host.docker.lock().unwrap() = crate::yard::Docker { version: "24.0.7".into(), running, ca: Some(own.clone()) };
    host.listening(&[22, 80, 443, 2379, 2380, 6443, 10248, 10250, 10256, 10257, 10259]);
    host.free_gib(3);
    let hosts = [host];

    let looked = look(&yard, &hosts).await;
    assert_eq!(failed_checks(&looked, 0), ["disk_docker", "leftovers"], "nothing was built by us yet");

    fs::write(yard.working().join("cluster.rkestate"), state).unwrap();
    let looked = look(&yard, &hosts).await;
    assert_eq!(looked.failure, None, "{:#?}", looked.lines);
    assert_eq!(check(&looked, 0, "leftovers").1, "it carries this cluster");
    assert_eq!(check(&looked, 0, "ports").1, "free, or held by RKE's own containers (10)");

    // The same by the file on the host, when Docker does not show it.
    hosts[0].docker.lock().unwrap().ca = None;
    hosts[0].file("etc/kubernetes/ssl/kube-ca.pem", &own);
    assert_eq!(look(&yard, &hosts).await.failure, None);
    hosts[0].file("etc/kubernetes/ssl/kube-ca.pem", &foreign);
    let looked = look(&yard, &hosts).await;
    assert!(check(&looked, 0, "leftovers").1.contains("which is not this cluster's"));
    assert_eq!(looked.failure.unwrap().class, Class::Host);
}

#[tokio::test]
async fn a_host_that_shows_another_key_is_refused_once_a_cluster_stands() {
    let Some(yard) = Yard::open("a_host_that_shows_another_key") else { return };
    let mut hosts = [yard.up(2)];
    assert_eq!(look(&yard, &hosts).await.failure, None);
    let exchange = |yard: &Yard, host: &mut Host, name: &str| {
        host.stop();
        yard.key(name, "ed25519", "");
        fs::copy(yard.dir.path().join(name), host.dir.join("host_key")).unwrap();
        host.start();
    };
    exchange(&yard, &mut hosts[0], "second");
    let looked = look(&yard, &hosts).await;
    assert_eq!(looked.failure, None, "nothing was built: nothing is lost");
    assert!(check(&looked, 0, "ssh").1.contains("another host key"), "{:#?}", looked.lines);

    let (_, own, state) = ca("web");
    fs::write(yard.working().join("cluster.rkestate"), state).unwrap();
    hosts[0].file("etc/kubernetes/ssl/kube-ca.pem", &own);
    assert_eq!(look(&yard, &hosts).await.failure, None, "the second key is on record now");
    exchange(&yard, &mut hosts[0], "third");
    let failure = look(&yard, &hosts).await.failure.unwrap();
    assert_eq!(failure.class, Class::Auth);
    assert!(failure.message.contains("another machine answers at this address"), "{failure:?}");
    assert!(failure.remedy.contains("forget-host-key") && !failure.retryable);
    let again = look(&yard, &hosts).await.failure;
    assert!(again.is_some(), "it stays refused");

    assert_eq!(known::forget(yard.working().parent().unwrap(), "127.0.1.2").unwrap().len(), 1);
    assert_eq!(look(&yard, &hosts).await.failure, None);
}

#[tokio::test]
async fn hosts_that_cannot_be_reached_alone_may_be_tried_again() {
    let Some(yard) = Yard::open("hosts_that_cannot_be_reached") else { return };
    let hosts = [yard.up(2), yard.host(3)];
    let looked = look(&yard, &hosts).await;
    let failure = looked.failure.clone().unwrap();
    assert!(failure.retryable && failure.class == Class::Unreachable, "{failure:?}");
    assert!(failure.message.starts_with("1 of 2 hosts are not ready: 127.0.1.3: port"), "{failure:?}");
    assert_eq!(check(&looked, 0, "reach").0, "ok", "that the other one is down is told once");
    assert_eq!(looked.findings["shortened"], Value::Bool(false));
}

#[tokio::test]
async fn a_glance_at_the_hosts_of_a_plan_keeps_nothing_and_names_those_for_which_there_was_no_time() {
    let Some(yard) = Yard::open("a_glance_at_the_hosts_of_a_plan") else { return };
    let hosts = [yard.up(2), yard.up(3)];
    let (spec, settings) = (spec(&hosts), yard.settings(&hosts));
    let before = tree(yard.dir.path().join("cluster").as_path());
    let within = Duration::from_secs(600);
    let found = preflight::glance(&spec, &yard.working(), &settings, &clock::system(), within).await;
    assert_eq!(found.failure, None, "{:#?}", found.lines);
    assert_eq!(tree(yard.dir.path().join("cluster").as_path()), before, "no key is put on record");

    // One host takes the connection and says nothing; the other one is well.
    let mute = std::net::TcpListener::bind(("127.0.1.4", 0)).unwrap();
    let mut slow = spec.clone();
    (slow.nodes[1].address, slow.nodes[1].port) = ("127.0.1.4".into(), mute.local_addr().unwrap().port());
    let began = tokio::time::Instant::now();
    tokio::time::pause();
    let found = preflight::glance(&slow, &yard.working(), &settings, &clock::system(), Duration::from_secs(9)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "simulated time");
    let failure = found.failure.clone().unwrap();
    assert!(failure.retryable, "{failure:?}");
    assert_eq!(check(&found, 1, "ssh").1, "it could not be looked at within 9 s, together with all others");
}
