//! What is said where a removal has cleaned hosts of a cluster's etcd.
//!
//! The data may not be gone: each member of etcd holds all of them, and its snapshots lie beside it, where neither
//! `rke remove` nor a removal that retains data touches them. So each remedy says how they are kept, and how an
//! operator who has put things right says so.

use cratekube_common::domain::failure::Failure;

use super::refuse;

/// Most of etcd was cleaned.
pub(super) fn most(cleaned: &[&String], left: &[&String]) -> Box<Failure> {
    let not = if left.is_empty() { String::new() } else { format!(", not {}", named(left)) };
    refuse(
        format!(
            "a removal that did not come to its end has cleaned {} of {} hosts of the cluster's etcd ({}){not}: `rke up` would build an empty cluster in its place",
            cleaned.len(),
            cleaned.len() + left.len(),
            named(cleaned),
        ),
        format!("{} {}", anew(left), restored("restored etcd by hand")),
    )
}

/// Whether etcd was cleaned is not known.
pub(super) fn untold(etcd: &[String]) -> Box<Failure> {
    let etcd: Vec<&String> = etcd.iter().collect();
    refuse(
        format!(
            "it is not known which hosts were cleaned by a removal that did not come to its end: each host of the cluster's etcd ({}) may have been, and `rke up` would build an empty cluster where they were",
            named(&etcd)
        ),
        format!(
            "Look at /var/lib/etcd on these hosts. {} Otherwise: {}",
            restored("found all of them whole, or restored etcd by hand"),
            anew(&etcd)
        ),
    )
}

/// A few hosts of etcd were cleaned, and are to be in it still.
pub(super) fn few(cleaned: &[&String], left: &[&String]) -> Box<Failure> {
    let cleaned = named(cleaned);
    refuse(
        format!(
            "a removal that did not come to its end has cleaned {cleaned}, of the hosts of the cluster's etcd; not cleaned were {}, which hold the data. `rke up` does not bring a cleaned member back",
            named(left)
        ),
        format!(
            "Take {cleaned} out of the description and apply that: its member is removed from etcd. Then put it in again and apply that: it is added as a new one. {}",
            restored("restored the member by hand")
        ),
    )
}

/// How to go on without the cluster, and keep its data.
fn anew(left: &[&String]) -> String {
    let member = match left {
        [] => String::new(),
        left => {
            format!("a snapshot of a member that was not cleaned ({}; each holds all of the data), or ", named(left))
        }
    };
    format!(
        "To keep the data, first save {member}what is in /opt/rke/etcd-snapshots on the hosts, where snapshots were taken. Then remove the cluster (again; `data_policy=retain` leaves those snapshots), and create it anew under its name."
    )
}

/// The way out for an operator who has put it right.
fn restored(how: &str) -> String {
    format!("If you have {how}, say so on the bastion with `cratekube-agent forget-cleaned`, and retry.")
}

fn named(hosts: &[&String]) -> String {
    hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>().join(", ")
}
