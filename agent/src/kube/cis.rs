//! Whether the hardening of the profile `cis` holds, each with its evidence: by what `rke` deployed
//! (its state), and by trying.

use cratekube_common::domain::cluster::health::{Check, CheckOutcome};
use cratekube_common::domain::cluster::spec::KubernetesVersion;
use serde_json::{Value, json};

use super::api::{Api, escape};
use super::fault::ApiFault;

/// First version without pod security policies.
const POD_SECURITY_ADMISSION: (u32, u32) = (1, 25);
/// What a stranger asks for: hosts, secrets, and what the API offers.
const STRANGERS_PATHS: [&str; 3] = ["/api/v1/nodes?limit=1", "/api/v1/secrets?limit=1", "/apis"];
/// Namespaces that are named in one sentence.
const NAMED: usize = 5;

/// Every check of the profile.
pub(super) async fn checks(
    (api, stranger): (&Api, &Api),
    services: &Value,
    version: &KubernetesVersion,
    namespace: &str,
) -> Vec<Check> {
    let mut checks = deployed(services);
    checks.push(found("cis-anonymous-access", anonymous(stranger).await));
    checks.push(found("cis-pod-security", pod_security(api, version, namespace).await));
    match namespaces(api).await {
        Ok(namespaces) => {
            checks.push(found("cis-default-accounts", default_accounts(api, &namespaces).await));
            checks.push(found("cis-network-policies", network_policies(api, &namespaces).await));
        }
        Err(fault) => checks.push(found("cis-namespaces", Err(fault))),
    }
    checks
}

/// A check of what was found: evidence, or what is missing.
type Finding = Result<Result<String, String>, ApiFault>;

fn found(name: &str, finding: Finding) -> Check {
    let (outcome, detail) = match finding {
        Ok(Ok(evidence)) => (CheckOutcome::Ok, evidence),
        Ok(Err(missing)) => (CheckOutcome::Failed, missing),
        Err(fault) => (CheckOutcome::Failed, format!("could not be found out: {}", fault.message())),
    };
    Check { name: name.to_owned(), outcome, detail }
}

/// What `rke` says it deployed.
fn deployed(services: &Value) -> Vec<Check> {
    let api = &services["kubeApi"];
    [
        (
            "cis-secrets-encryption",
            "kube-api.secrets_encryption_config.enabled",
            &api["secretsEncryptionConfig"]["enabled"],
        ),
        ("cis-audit-log", "kube-api.audit_log.enabled", &api["auditLog"]["enabled"]),
        ("cis-event-rate-limit", "kube-api.event_rate_limit.enabled", &api["eventRateLimit"]["enabled"]),
        (
            "cis-kubelet-certificates",
            "kubelet.generate_serving_certificate",
            &services["kubelet"]["generateServingCertificate"],
        ),
    ]
    .into_iter()
    .map(|(name, setting, value)| {
        let is = format!("deployed with services.{setting}: {value}");
        found(name, Ok(if *value == true { Ok(is) } else { Err(is) }))
    })
    .collect()
}

/// Who shows no credential is refused everything: 401 where anonymous requests are off, as `rke` has it, 403
/// where they are on and nothing was granted to them.
async fn anonymous(stranger: &Api) -> Finding {
    let (mut refused, mut answered) = (Vec::new(), Vec::new());
    for path in STRANGERS_PATHS {
        match stranger.text(path).await {
            Ok(_) => answered.push(path),
            Err(ApiFault::Refused(refusal)) if matches!(refusal.code, 401 | 403) => {
                refused.push(format!("{path} {}", refusal.code));
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok(match answered.is_empty() {
        true => Ok(format!("asked without a credential: {}", refused.join(", "))),
        false => Err(format!("answered without a credential: {}", answered.join(", "))),
    })
}

/// A privileged pod is refused. It is never created: the request is a dry run.
async fn pod_security(api: &Api, version: &KubernetesVersion, namespace: &str) -> Finding {
    let (major, minor, _) = version.numbers();
    if (major, minor) < POD_SECURITY_ADMISSION {
        let policies = api.list("/apis/policy/v1beta1/podsecuritypolicies").await?;
        let count = policies.len();
        return Ok(if count > 0 {
            Ok(format!("{count} pod security policies are in force"))
        } else {
            Err("there is no pod security policy".to_owned())
        });
    }
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "cratekube-check", "namespace": namespace},
        "spec": {"containers": [{"name": "check", "image": "none.invalid/none", "securityContext": {"privileged": true}}]},
    });
    let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", escape(namespace));
    match api.create(&path, &pod).await {
        Ok(_) => Ok(Err(format!("a privileged pod would be admitted in {namespace}"))),
        Err(ApiFault::Refused(refusal)) if refusal.code == 403 && refusal.message.contains("PodSecurity") => {
            Ok(Ok(format!("a privileged pod is refused in {namespace}: {}", refusal.message)))
        }
        Err(fault) => Err(fault),
    }
}

async fn namespaces(api: &Api) -> Result<Vec<String>, ApiFault> {
    let all = api.list("/api/v1/namespaces").await?;
    let staying = all.iter().filter(|namespace| namespace["metadata"]["deletionTimestamp"].is_null());
    Ok(staying.filter_map(|namespace| namespace["metadata"]["name"].as_str()).map(ToOwned::to_owned).collect())
}

async fn default_accounts(api: &Api, namespaces: &[String]) -> Finding {
    let accounts = api.list("/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault").await?;
    let closed = |namespace: &str| {
        let mut here = accounts.iter().filter(|account| account["metadata"]["namespace"] == namespace);
        here.all(|account| account["automountServiceAccountToken"] == false)
    };
    let open: Vec<&str> = namespaces.iter().map(String::as_str).filter(|n| !closed(n)).collect();
    Ok(if open.is_empty() {
        Ok(format!(
            "the default account of all {} namespaces has automountServiceAccountToken: false",
            namespaces.len()
        ))
    } else {
        Err(format!("pods get a token of the default account in: {}", named(&open)))
    })
}

async fn network_policies(api: &Api, namespaces: &[String]) -> Finding {
    let policies = api.list("/apis/networking.k8s.io/v1/networkpolicies").await?;
    let has = |namespace: &str| policies.iter().any(|policy| policy["metadata"]["namespace"] == namespace);
    let without: Vec<&str> = namespaces.iter().map(String::as_str).filter(|n| !has(n)).collect();
    Ok(if without.is_empty() {
        Ok(format!("all {} namespaces have a network policy", namespaces.len()))
    } else {
        Err(format!("there is no network policy in: {}", named(&without)))
    })
}

fn named(names: &[&str]) -> String {
    let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deployed_is_evidence_for_or_against() {
        let services =
            json!({"kubeApi": {"secretsEncryptionConfig": {"enabled": true}, "auditLog": {"enabled": false}}});
        let checks = deployed(&services);
        let outcome = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
        assert_eq!(outcome("cis-secrets-encryption").outcome, CheckOutcome::Ok);
        assert_eq!(outcome("cis-audit-log").detail, "deployed with services.kube-api.audit_log.enabled: false");
        assert_eq!(outcome("cis-event-rate-limit").outcome, CheckOutcome::Failed);
        assert_eq!(checks.len(), 4);
    }
}
