//! The catalogue of errors: every kind of problem that the API answers with, and every class of failure
//! that an operation ends with, from the tables that they are made of. `cratekube-controller errors`
//! prints it; `deploy/errors.md` is that, and a test fails when it is not.

use std::fmt::Write as _;

use cratekube_common::domain::failure::FailureClass;

use crate::rest::Kind;

const HEAD: &str = "\
# Errors

What goes wrong, what it means and what to do. This file is `cratekube-controller errors`; it is not
edited by hand.

## Answers of the API

Every answer of 400 and above is a problem document (RFC 9457, `application/problem+json`). Programs rely
on `type`; people read `detail`, what `errors` lists, and `remedy`. `retryable` says whether the same
request may succeed later; then `Retry-After` says when, for 429 and 503. `GET /problems/{kind}` tells
what is here.
";

const FAILURES: &str = "
## Failed operations

An operation that failed carries `failure`: its `class`, a `message`, the `line` of rke that shows it,
whether a retry can help, and a `remedy` for the very case. This is what each class means in general.

| class | what happened | in passing? | what to do |
|---|---|---|---|
";

/// The catalogue, as Markdown.
#[must_use]
pub fn catalogue() -> String {
    let mut text =
        format!("{HEAD}\n| type | status | retryable | what it means | what to do |\n|---|---|---|---|---|\n");
    for kind in Kind::ALL {
        let (status, retryable) = (kind.status().as_u16(), yes(kind.retryable()));
        let (title, remedy) = (cell(kind.title()), cell(kind.remedy()));
        let _into_a_string =
            writeln!(text, "| `/problems/{}` | {status} | {retryable} | {title} | {remedy} |", kind.slug());
    }
    text.push_str(FAILURES);
    for class in FailureClass::ALL {
        let (what, passing, remedy) = meaning(*class);
        let _into_a_string = writeln!(text, "| `{class}` | {} | {} | {} |", cell(what), passing.as_str(), cell(remedy));
    }
    text
}

/// Whether a failure of a class may go away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    Yes,
    No,
    Depends,
}

impl Passing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Depends => "depends; `retryable` says",
        }
    }
}

/// What a class means, whether it may pass, what to do.
fn meaning(class: FailureClass) -> (&'static str, Passing, &'static str) {
    use FailureClass as F;
    match class {
        F::Config => (
            "rke or the cluster did not accept what was described",
            Passing::No,
            "Correct the spec as the message says, and apply it.",
        ),
        F::Unreachable => (
            "a host or the cluster's API could not be reached from the bastion",
            Passing::Yes,
            "See that the host is up, and that its security group lets the bastion in (22, 6443). Retry.",
        ),
        F::Auth => (
            "SSH to a host refused the user or the key",
            Passing::No,
            "Put the bastion's public key into the host's authorized_keys, for the user in the spec; `cratekube-agent doctor` looks at the key.",
        ),
        F::Host => (
            "a host is not fit: its disk, clock or ports, or what another cluster left on it",
            Passing::No,
            "Mend what preflight names, host by host; all of it is in the operation's findings. Then retry.",
        ),
        F::Docker => (
            "Docker on a host is missing, of a version that RKE does not take, or not for this user",
            Passing::No,
            "Install a Docker that the message names, and put the SSH user into the group docker.",
        ),
        F::Image => (
            "an image could not be pulled",
            Passing::Depends,
            "See that hosts reach the registry, and its login in the spec. A version whose images need a subscription stays out of reach.",
        ),
        F::Network => (
            "hosts cannot reach each other on ports that they need",
            Passing::No,
            "Open the ports that the message names between the hosts. Retry.",
        ),
        F::Etcd => (
            "etcd did not come up, or lost its health",
            Passing::Depends,
            "See that disks of hosts with the role etcd are fast and not full, and that 2379 and 2380 are open between them.",
        ),
        F::ControlPlane => (
            "the control plane did not come up",
            Passing::Depends,
            "Look at `docker logs kube-apiserver` on the host that the message names; often an argument or a full disk.",
        ),
        F::Worker => (
            "a worker did not come up",
            Passing::Depends,
            "Look at `docker logs kubelet` on the host that the message names. The cluster works without it; retry, or take it out of the spec.",
        ),
        F::Addon => (
            "an add-on was not deployed",
            Passing::Yes,
            "Retry: images are there by then. If it fails again, look at the add-on's job and pods in kube-system.",
        ),
        F::State => (
            "RKE's state is missing, torn, older than known, or another cluster's, or a removal that failed has cleaned hosts of the cluster's etcd, or may have: rke was kept from running on it",
            Passing::No,
            "`recover-state` brings the newest good generation back, or what the cluster itself keeps. Do not remove files. Where hosts of etcd were cleaned the message names them, and the remedy says how data that are still there are kept; once they are in order, say so on the bastion with `cratekube-agent forget-cleaned`.",
        ),
        F::Volume => (
            "the state volume is full, read-only, wrong or gone",
            Passing::No,
            "`cratekube-agent doctor` on the bastion says which, and how to mend it. Retry then.",
        ),
        F::Cloud => (
            "the cloud did not answer, refused, or keeps what the cluster left in it",
            Passing::Depends,
            "See that the bastion's role may do what the message names. Retry: what is gone already is passed over.",
        ),
        F::Timeout => (
            "the run took too long, was silent for too long, or stood still in one phase",
            Passing::Depends,
            "See which host is slow. Retry: rke goes on from what is there.",
        ),
        F::Interrupted => (
            "the run ended with its host or was killed; how far it came is not known",
            Passing::Yes,
            "It is tried again by itself. After the last attempt: retry, once the bastion is well.",
        ),
        F::Cancelled => (
            "it was ended on request",
            Passing::No,
            "The cluster may be half changed: apply its spec again, or remove it.",
        ),
        F::Internal => (
            "a fault of the service",
            Passing::Depends,
            "Give the operator of the service the operation's id; the agent's log has more.",
        ),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_file_with_the_catalogue_is_what_the_program_says() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/errors.md");
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == catalogue(), "stale: run `cargo run -p cratekube-controller -- errors > deploy/errors.md`");
    }

    #[test]
    fn every_kind_and_class_is_there_with_something_to_do() {
        let text = catalogue();
        for kind in Kind::ALL {
            assert!(text.contains(&format!("/problems/{}`", kind.slug())) && kind.remedy().ends_with('.'), "{kind:?}");
        }
        for class in FailureClass::ALL {
            assert!(text.contains(&format!("| `{class}` |")) && meaning(*class).2.ends_with('.'), "{class}");
        }
    }
}
