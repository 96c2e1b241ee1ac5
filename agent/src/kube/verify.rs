//! The step *verify*: checks what a user of the cluster would check, and writes down when its
//! certificates run out.
//!
//! Checks that may come right by waiting are made again until they do, or the patience runs out. Nothing
//! is changed in the cluster.

use std::time::Duration;

use cratekube_common::domain::cluster::health::{CertificateExpiry, Check, CheckOutcome, VerifyFindings};
use cratekube_common::domain::cluster::spec::{NodeRole, Profile};
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::time::Timestamp;
use cratekube_common::runtime::backoff::Backoff;
use cratekube_common::runtime::clock;
use cratekube_common::step::StepOutcome;
use serde_json::Value;

use super::admin::AdminConfig;
use super::api::{Api, escape};
use super::basics::MANAGED_BY;
use super::certificates::{self, Recorded};
use super::fault::ApiFault;
use super::{cis, nodes, rights, served, workloads};
use crate::step::{Console, StepInput};

const FIRST_LOOK: Duration = Duration::from_millis(500);
const MOST_LOOK: Duration = Duration::from_secs(15);
/// Certificates that run out sooner are warned of: enough for a rotation in working hours.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Verifies a cluster.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    match Verifier::new(input) {
        Ok(verifier) => verifier.verify(console).await,
        Err(failure) => StepOutcome { failure: Some(failure), ..StepOutcome::default() },
    }
}

struct Verifier<'a> {
    input: &'a StepInput,
    admin: AdminConfig,
    api: Api,
    stranger: Api,
    recorded: Result<Recorded, String>,
    namespaces: Vec<String>,
}

impl<'a> Verifier<'a> {
    fn new(input: &'a StepInput) -> Result<Self, Failure> {
        let admin = AdminConfig::read(&input.working)?;
        let api = Api::new(&admin, &input.settings.kubernetes)?;
        let stranger = Api::stranger(&admin, &input.settings.kubernetes)?;
        let recorded = certificates::recorded(&input.working);
        Ok(Self { input, admin, api, stranger, recorded, namespaces: namespaces(&input.input) })
    }

    async fn verify(&self, console: &dyn Console) -> StepOutcome {
        console.phase(1, 2, "checking the cluster");
        let patience = self.input.settings.kubernetes.ready_timeout;
        let mut backoff = Backoff::new(FIRST_LOOK, MOST_LOOK);
        let mut findings = self.look().await;
        let mut told = String::new();
        let _patience_ran_out = tokio::time::timeout(patience, async {
            while !findings.is_healthy() {
                let open = open(&findings);
                if open != told {
                    console.line(&format!("waiting: {open}"));
                    console.waits_for(&open);
                    told = open;
                }
                tokio::time::sleep(backoff.next(1.0)).await;
                findings = self.look().await;
            }
        })
        .await;
        console.phase(2, 2, "what was found");
        tell(&findings, console);
        let warnings = expiring(&findings);
        let failure = failure(&findings);
        StepOutcome { failure, warnings, findings: serde_json::to_value(&findings).unwrap_or_default() }
    }

    /// Makes every check once.
    async fn look(&self) -> VerifyFindings {
        let (mut checks, mut certificates) = (Vec::new(), self.kept());
        let served = self.served(&mut certificates).await;
        checks.push(served);
        let (version, kubernetes_version) = self.version().await;
        checks.push(version);
        checks.push(checked("nodes", self.nodes().await));
        checks.push(checked("etcd", self.etcd().await));
        checks.push(checked("system-workloads", self.workloads().await));
        let users = self.users().await;
        checks.extend(self.access(&users).await);
        certificates.sort_by(|a, b| a.not_after.cmp(&b.not_after).then_with(|| a.name.cmp(&b.name)));
        let checked_at = clock::system().now();
        checks.push(self.lives(&certificates, checked_at));
        if self.input.spec.profile == Profile::Cis {
            let services = self.recorded.as_ref().map_or(&Value::Null, |recorded| &recorded.services);
            // A namespace of users, for RKE's own are exempt.
            let namespace = users.iter().flatten().next().map_or("default", String::as_str);
            let version = &self.input.spec.kubernetes_version;
            let apis = (&self.api.once(), &self.stranger.once());
            checks.extend(cis::checks(apis, services, version, namespace).await);
        }
        VerifyFindings { checked_at, kubernetes_version, checks, certificates }
    }

    /// Certificates that the bastion has.
    fn kept(&self) -> Vec<CertificateExpiry> {
        let mut all = self.recorded.as_ref().map(|recorded| recorded.certificates.clone()).unwrap_or_default();
        if let Some(not_after) = certificates::not_after_pem(&self.admin.certificate) {
            all.push(CertificateExpiry { name: "kubeconfig".into(), not_after });
        }
        all
    }

    /// Every control plane host answers, with a certificate of the cluster's CA.
    async fn served(&self, certificates: &mut Vec<CertificateExpiry>) -> Check {
        let hosts = self.input.spec.nodes_with(NodeRole::ControlPlane);
        let (mut faults, mut count) = (Vec::new(), 0);
        for host in hosts.map(|node| &node.address) {
            count += 1;
            match served::not_after(&self.admin.authority, host, &self.input.settings.kubernetes).await {
                Ok(not_after) => certificates.push(CertificateExpiry { name: format!("api {host}"), not_after }),
                Err(why) => faults.push(format!("{host}: {why}")),
            }
        }
        let evidence = format!("all API servers ({count}) answer with certificates of the cluster's CA");
        checked("api", Ok(if faults.is_empty() { Ok(evidence) } else { Err(faults.join("; ")) }))
    }

    async fn version(&self) -> (Check, Option<String>) {
        let asked = self.api.once().get("/version").await;
        let found =
            asked.as_ref().ok().and_then(Option::as_ref).and_then(|v| v["gitVersion"].as_str()).map(ToOwned::to_owned);
        let wanted = nodes::wanted_version(&self.input.spec);
        let finding = asked.map(|_| match &found {
            Some(version) if nodes::is_version(version, &self.input.spec) => Ok(format!("the API is {version}")),
            Some(version) => Err(format!("the API is {version} instead of {wanted}")),
            None => Err("the API does not say its version".to_owned()),
        });
        (checked("version", finding), found)
    }

    async fn nodes(&self) -> Finding {
        let nodes = self.api.once().list("/api/v1/nodes").await?;
        let faults = nodes::judge(&self.input.spec, &nodes);
        let words: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let count = nodes.len();
        Ok(if words.is_empty() { Ok(format!("all {count} nodes are as described")) } else { Err(words.join("; ")) })
    }

    async fn etcd(&self) -> Finding {
        match self.api.once().text("/livez/etcd").await {
            Ok(_) => Ok(Ok("the API server reaches etcd, and it has a leader".into())),
            Err(ApiFault::Refused(refusal)) => Ok(Err(format!("the API server says of etcd: {}", refusal.message))),
            Err(fault) => Err(fault),
        }
    }

    async fn workloads(&self) -> Finding {
        let (api, mut all, mut missing) = (self.api.once(), 0, Vec::new());
        for namespace in workloads::NAMESPACES {
            let deployments = api.list(&format!("/apis/apps/v1/namespaces/{namespace}/deployments")).await?;
            let daemon_sets = api.list(&format!("/apis/apps/v1/namespaces/{namespace}/daemonsets")).await?;
            all += deployments.len() + daemon_sets.len();
            missing.extend(workloads::unavailable(&deployments, &daemon_sets));
        }
        let evidence = format!("all {all} workloads of {} are available", workloads::NAMESPACES.join(" and "));
        Ok(if missing.is_empty() { Ok(evidence) } else { Err(missing.join("; ")) })
    }

    /// Namespaces of users: those that the task names, or else those that *configure* has made.
    async fn users(&self) -> Result<Vec<String>, ApiFault> {
        if !self.namespaces.is_empty() {
            return Ok(self.namespaces.clone());
        }
        let path = format!("/api/v1/namespaces?labelSelector={}", escape(&format!("{MANAGED_BY}=cratekube")));
        let found = self.api.once().list(&path).await?;
        Ok(found.iter().filter_map(|n| n["metadata"]["name"].as_str()).map(ToOwned::to_owned).collect())
    }

    async fn access(&self, users: &Result<Vec<String>, ApiFault>) -> Vec<Check> {
        let mut checks = Vec::new();
        match users {
            Err(fault) => checks.push(checked("access", Err(fault.clone()))),
            Ok(none) if none.is_empty() => checks.push(Check {
                name: "access".to_owned(),
                outcome: CheckOutcome::Skipped,
                detail: "the cluster was not configured with a namespace for users yet".to_owned(),
            }),
            Ok(namespaces) => {
                for namespace in namespaces {
                    checks.push(checked("access", self.rights(namespace).await));
                }
            }
        }
        checks
    }

    async fn rights(&self, namespace: &str) -> Finding {
        let questions = rights::questions(namespace);
        let wrong = rights::ask(&self.api.once(), &questions).await?;
        let count = questions.len();
        Ok(if wrong.is_empty() {
            Ok(format!("accounts in {namespace} can do what they should and nothing more: {count} questions"))
        } else {
            Err(wrong.join("; "))
        })
    }

    fn lives(&self, certificates: &[CertificateExpiry], now: Timestamp) -> Check {
        let over: Vec<&str> = certificates.iter().filter(|c| c.not_after <= now).map(|c| c.name.as_str()).collect();
        let finding = match (&self.recorded, certificates.first()) {
            (Err(why), _) => Err(why.clone()),
            _ if !over.is_empty() => Err(format!("have run out: {}", over.join(", "))),
            (_, Some(first)) => Ok(format!("the first to run out is {}, on {}", first.name, first.not_after)),
            (_, None) => Err("there are none".to_owned()),
        };
        checked("certificates", Ok(finding))
    }
}

/// Evidence, or what is not as it should be; or no answer.
type Finding = Result<Result<String, String>, ApiFault>;

fn checked(name: &str, finding: Finding) -> Check {
    let (outcome, detail) = match finding {
        Ok(Ok(evidence)) => (CheckOutcome::Ok, evidence),
        Ok(Err(fault)) => (CheckOutcome::Failed, fault),
        Err(fault) => (CheckOutcome::Failed, format!("the API does not answer: {}", fault.message())),
    };
    Check { name: name.to_owned(), outcome, detail }
}

/// Namespaces of users that the task names, or that an earlier task of its operation has made.
fn namespaces(input: &Value) -> Vec<String> {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    };
    let told = list(&input["namespaces"]);
    if told.is_empty() { list(&input["earlier"]["configure"]["namespaces"]) } else { told }
}

fn open(findings: &VerifyFindings) -> String {
    let words: Vec<String> = findings.failed().map(|check| format!("{}: {}", check.name, check.detail)).collect();
    words.join("; ")
}

fn tell(findings: &VerifyFindings, console: &dyn Console) {
    for check in &findings.checks {
        console.line(&format!("{:>7} {}: {}", check.outcome, check.name, check.detail));
    }
}

fn expiring(findings: &VerifyFindings) -> Vec<String> {
    let soon = findings.checked_at.after(SOON);
    let near = findings.certificates.iter().filter(|c| c.not_after <= soon && c.not_after > findings.checked_at);
    near.map(|c| format!("the certificate {} runs out on {}: rotate the cluster's certificates", c.name, c.not_after))
        .collect()
}

fn failure(findings: &VerifyFindings) -> Option<Failure> {
    let first = findings.failed().next()?;
    let (class, remedy) = meaning(&first.name);
    let more = findings.failed().count() - 1;
    let also = if more == 0 { String::new() } else { format!("; and {more} more checks failed") };
    Some(Failure {
        class,
        message: format!("the check {} failed: {}{also}", first.name, first.detail),
        line: None,
        retryable: true,
        remedy: remedy.to_owned(),
    })
}

/// What a failed check means, and what to do.
fn meaning(check: &str) -> (FailureClass, &'static str) {
    match check {
        "api" => (
            FailureClass::Unreachable,
            "Look whether kube-apiserver runs on the hosts that are named (`docker ps`), and whether the bastion reaches their port 6443, directly or through the proxy in [kubernetes].",
        ),
        "version" => (FailureClass::ControlPlane, "The control plane was not upgraded: provision the cluster again."),
        "nodes" => (
            FailureClass::Worker,
            "Look at the kubelet's logs on the hosts that are named (`docker logs kubelet`), then provision the cluster again.",
        ),
        "etcd" => (
            FailureClass::Etcd,
            "Look at etcd's logs on the hosts with the role etcd (`docker logs etcd`): most must run and reach each other.",
        ),
        "system-workloads" => (
            FailureClass::Addon,
            "Look at the pods that are named: an image that cannot be pulled is the usual cause. Then provision the cluster again.",
        ),
        "access" => (
            FailureClass::Config,
            "Look for roles and bindings that give the accounts that are named more, or less, than they should have; configuring the cluster again brings back its own.",
        ),
        "certificates" => (FailureClass::State, "Rotate the cluster's certificates."),
        _ => (
            FailureClass::Config,
            "The hardening of the profile does not hold: provision the cluster again, and look who changed it.",
        ),
    }
}
