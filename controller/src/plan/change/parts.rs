//! The parts of a spec but the nodes: version, networks, snapshots, add-ons, registries, hardening.

use cratekube_common::domain::cluster::spec::{
    Addons, ClusterSpec, EtcdSnapshots, KubernetesVersion, Network, PrivateRegistry, Profile,
};

use super::ChangeClass::{Disruptive, Impossible, LosesData, Safe};
use super::{ChangeClass, Ledger, Present, nodes};

pub(super) fn compare(ledger: &mut Ledger, present: &Present<'_>, wanted: &ClusterSpec) {
    let ClusterSpec {
        kubernetes_version,
        nodes: present_nodes,
        network,
        etcd_snapshots,
        addons,
        private_registries,
        profile,
        ssh_user,
    } = present.spec;
    if *kubernetes_version != wanted.kubernetes_version {
        let way_back = present.verified.map(|spec| &spec.kubernetes_version);
        let (class, because) = version(kubernetes_version, &wanted.kubernetes_version, way_back);
        ledger.note("/kubernetes_version", class, because);
    }
    nodes::compare(ledger, present_nodes, &wanted.nodes);
    compare_network(ledger, network, &wanted.network);
    compare_snapshots(ledger, etcd_snapshots, &wanted.etcd_snapshots);
    compare_addons(ledger, addons, &wanted.addons);
    compare_registries(ledger, private_registries, &wanted.private_registries);
    if *profile != wanted.profile {
        ledger.note("/profile", Disruptive, hardening(wanted.profile));
    }
    if *ssh_user != wanted.ssh_user {
        ledger.note("/ssh_user", Safe, "From the next run on, nodes that name no user are reached as this one.");
    }
}

fn version(
    from: &KubernetesVersion,
    to: &KubernetesVersion,
    way_back: Option<&KubernetesVersion>,
) -> (ChangeClass, String) {
    let ((a, b, ..), (x, y, ..)) = (from.order(), to.order());
    if to.order() < from.order() {
        return if way_back == Some(to) {
            (
                Disruptive,
                format!(
                    "The upgrade to {from} was not completed; this takes it back to the version that the cluster last had whole."
                ),
            )
        } else {
            (Impossible, "Kubernetes cannot be downgraded: restore a snapshot of etcd into a cluster of the older version instead.".into())
        };
    }
    match (x == a, y.saturating_sub(b)) {
        (true, 0) => (Disruptive, "Kubernetes is replaced on one node after the other; the API and pods restart.".into()),
        (true, 1) => (
            Disruptive,
            "Kubernetes is upgraded on one node after the other; pods restart, and APIs that the new version dropped are gone.".into(),
        ),
        (true, minors) => (
            Impossible,
            format!("{minors} minor versions at once: Kubernetes is upgraded one minor version after the other; go to v{a}.{} first.", b + 1),
        ),
        (false, _) => (Impossible, "Another major version of Kubernetes needs another cluster.".into()),
    }
}

fn compare_network(ledger: &mut Ledger, from: &Network, to: &Network) {
    let Network { plugin, pod_cidr, service_cidr } = from;
    if *plugin != to.plugin {
        let because = "The network plugin cannot be changed: RKE would deploy the new one beside the old one. Build another cluster and move over.";
        ledger.note("/network/plugin", Impossible, because);
    }
    let because = "A cluster's networks are in its certificates and in every node; they cannot be changed later.";
    if *pod_cidr != to.pod_cidr {
        ledger.note("/network/pod_cidr", Impossible, because);
    }
    if *service_cidr != to.service_cidr {
        ledger.note("/network/service_cidr", Impossible, because);
    }
}

fn compare_snapshots(ledger: &mut Ledger, from: &EtcdSnapshots, to: &EtcdSnapshots) {
    let EtcdSnapshots { enabled, interval_hours, retention } = from;
    if *enabled != to.enabled {
        let (class, because) = if to.enabled {
            (Safe, "Snapshots of etcd are taken from now on.")
        } else {
            (LosesData, "No snapshots are taken any more: what etcd loses from now on cannot be brought back.")
        };
        ledger.note("/etcd_snapshots/enabled", class, because);
    }
    if *interval_hours != to.interval_hours {
        ledger.note("/etcd_snapshots/interval_hours", Safe, "The next snapshot is taken by the new interval.");
    }
    if *retention != to.retention {
        let (class, because) = if to.retention < *retention {
            (LosesData, "Snapshots beyond the new number are deleted.")
        } else {
            (Safe, "More snapshots are kept.")
        };
        ledger.note("/etcd_snapshots/retention", class, because);
    }
}

fn compare_addons(ledger: &mut Ledger, from: &Addons, to: &Addons) {
    let Addons { ingress, metrics, dns } = from;
    for (at, from, to, gone) in [
        (
            "/addons/ingress",
            *ingress,
            to.ingress,
            "The ingress controller is taken away: what it serves is not reachable any more.",
        ),
        (
            "/addons/metrics",
            *metrics,
            to.metrics,
            "The metrics server is taken away: autoscaling and `kubectl top` stop.",
        ),
        ("/addons/dns", *dns, to.dns, "CoreDNS is taken away: pods find no service by name any more."),
    ] {
        match (from, to) {
            (true, false) => ledger.note(at, Disruptive, gone),
            (false, true) => ledger.note(at, Safe, "It is deployed beside what runs."),
            _ => {}
        }
    }
}

fn compare_registries(ledger: &mut Ledger, from: &[PrivateRegistry], to: &[PrivateRegistry]) {
    let noted = ledger.changes.len();
    for (i, registry) in from.iter().enumerate().filter(|(_, known)| to.iter().all(|wanted| wanted.url != known.url)) {
        let because = if registry.is_default {
            "Images come from another place: every component is started anew from there."
        } else {
            "Images from there that need a login cannot be pulled any more."
        };
        ledger.removed(&format!("/private_registries/{i}"), Disruptive, because);
    }
    for (j, wanted) in to.iter().enumerate() {
        match from.iter().enumerate().find(|(_, known)| known.url == wanted.url) {
            Some((i, known)) => compare_registry(ledger, (i, known), (j, wanted)),
            None if wanted.is_default => ledger.added(
                &format!("/private_registries/{j}"),
                Disruptive,
                "Images come from there: every component is started anew.",
            ),
            None => ledger.added(&format!("/private_registries/{j}"), Safe, "Images can be pulled from there, too."),
        }
    }
    if from != to && ledger.changes.len() == noted {
        ledger.note("/private_registries", Safe, "Only the order is another.");
    }
}

fn compare_registry(ledger: &mut Ledger, (i, from): (usize, &PrivateRegistry), (j, to): (usize, &PrivateRegistry)) {
    let PrivateRegistry { url: _, user, password, is_default } = from;
    let mut note = |key: &str, class, because: &str| {
        let places = (format!("/private_registries/{i}/{key}"), format!("/private_registries/{j}/{key}"));
        ledger.moved((&places.0, &places.1), class, because);
    };
    if *user != to.user {
        note("user", Safe, "The login is used from the next pull on.");
    }
    if *password != to.password {
        note("password", Safe, "The login is used from the next pull on.");
    }
    if *is_default != to.is_default {
        note("is_default", Disruptive, "Images come from another place: every component is started anew from there.");
    }
}

fn hardening(to: Profile) -> &'static str {
    match to {
        Profile::Cis => {
            "etcd, API and kubelets restart; secrets are encrypted; pods that are not `restricted` are refused from now on, and etcd runs as a user that the hosts must have."
        }
        Profile::None => {
            "etcd, API and kubelets restart; secrets are not encrypted any more, and pods are not restricted."
        }
    }
}
