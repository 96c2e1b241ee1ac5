//! The step *configure*: makes a cluster ready for its users.
//!
//! Waits for API and nodes; undoes what an unfinished removal froze; then applies the users' namespaces with accounts and rights, what a hardened
//! profile asks of every namespace, and every managed resource. What is the service's own is taken over
//! from whoever changed it; what is the users' never is.

use cratekube_common::domain::cluster::resource::{
    ConfigureFindings, ConfigureInput, ObjectFault, ResourceState, ResourceStatus,
};
use cratekube_common::domain::cluster::spec::Profile;
use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::step::StepOutcome;
use serde_json::Value;

use super::admin::AdminConfig;
use super::api::Api;
use super::basics::{self, Basic};
use super::manage::Manager;
use super::removal::thaw;
use super::wait;
use crate::step::{Console, StepInput};

const STEPS: u32 = 4;

/// Configures a cluster.
pub async fn run(input: &StepInput, console: &dyn Console) -> StepOutcome {
    let mut findings = ConfigureFindings::default();
    let asked = match read(&input.input) {
        Ok(asked) => asked,
        Err(failure) => return StepOutcome { failure: Some(failure), ..StepOutcome::default() },
    };
    let failure = perform(input, &asked, &mut findings, console).await.err();
    // What was not reached is told as such, so that nobody takes an old status for a new one.
    let reached = findings.resources.len();
    findings.resources.extend(asked.resources.iter().skip(reached).map(ResourceStatus::pending));
    let warnings = warnings(&findings);
    let failure = failure.or_else(|| asked.must_apply.then(|| unapplied(&findings)).flatten());
    StepOutcome { failure, warnings, findings: serde_json::to_value(&findings).unwrap_or_default() }
}

fn read(input: &Value) -> Result<ConfigureInput, Failure> {
    if input.is_null() {
        return Ok(ConfigureInput::default());
    }
    serde_json::from_value(input.clone()).map_err(|_| Failure {
        class: FailureClass::Internal,
        // The parser's words may repeat values, and manifests hold secrets.
        message: "the agent could not read what is to be configured".into(),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent or the controller so that their versions match.".into(),
    })
}

async fn perform(
    input: &StepInput,
    asked: &ConfigureInput,
    findings: &mut ConfigureFindings,
    console: &dyn Console,
) -> Result<(), Failure> {
    let settings = &input.settings.kubernetes;
    let admin = AdminConfig::read(&input.working)?;
    let api = Api::new(&admin, settings)?;
    console.phase(1, STEPS, "waiting for the API and its nodes");
    wait::ready(&api, &input.spec, console, settings.ready_timeout).await?;
    console.phase(2, STEPS, "namespaces, accounts and rights");
    thaw::run(&api, console).await.map_err(|fault| fault.failure("undo what a removal froze"))?;
    for namespace in &asked.scope.namespaces {
        apply_all(&api, &basics::for_users(namespace)).await?;
        console.line(&format!("namespace {namespace} has its accounts and rights"));
        findings.namespaces.push(namespace.clone());
    }
    console.phase(3, STEPS, "hardening of namespaces");
    harden(&api, input.spec.profile, console).await?;
    console.phase(4, STEPS, "managed resources");
    manage(&api, asked, findings, console).await;
    Ok(())
}

async fn apply_all(api: &Api, basics: &[Basic]) -> Result<(), Failure> {
    for Basic { path, object } in basics {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let kind = object["kind"].as_str().unwrap_or_default();
        api.apply(path, object, true).await.map_err(|fault| fault.failure(&format!("apply {kind} {name}")))?;
    }
    Ok(())
}

async fn harden(api: &Api, profile: Profile, console: &dyn Console) -> Result<(), Failure> {
    if profile != Profile::Cis {
        console.line("the profile asks nothing of namespaces");
        return Ok(());
    }
    let namespaces = api.list("/api/v1/namespaces").await.map_err(|fault| fault.failure("list the namespaces"))?;
    let staying = namespaces.iter().filter(|namespace| namespace["metadata"]["deletionTimestamp"].is_null());
    let names: Vec<&str> = staying.filter_map(|namespace| namespace["metadata"]["name"].as_str()).collect();
    for name in &names {
        apply_all(api, &basics::for_profile(profile, name)).await?;
    }
    console.line(&format!("{} namespaces have a network policy and a default account without token", names.len()));
    Ok(())
}

async fn manage(api: &Api, asked: &ConfigureInput, findings: &mut ConfigureFindings, console: &dyn Console) {
    let manager = Manager::new(api, &asked.scope);
    for removed in &asked.remove {
        let status = manager.remove(removed).await;
        let left = status.objects.len();
        let words =
            if left == 0 { "is removed".to_owned() } else { format!("is not removed yet: {left} objects are left") };
        console.line(&format!("resource {} {words}", removed.name));
        tell(&status.faults, console);
        findings.removed.push(status);
    }
    let mut taken = Vec::new();
    for resource in &asked.resources {
        let status = manager.apply(resource, &mut taken).await;
        let count = status.objects.len();
        console.line(&format!("resource {} is {}: {count} objects in the cluster", resource.name, status.state));
        tell(&status.faults, console);
        findings.resources.push(status);
    }
}

fn tell(faults: &[ObjectFault], console: &dyn Console) {
    for fault in faults {
        console.line(&format!("  {}", shown(fault)));
    }
}

fn shown(fault: &ObjectFault) -> String {
    match &fault.object {
        Some(object) => format!("{object}: {}: {}", fault.reason, fault.message),
        None => format!("{}: {}", fault.reason, fault.message),
    }
}

fn warnings(findings: &ConfigureFindings) -> Vec<String> {
    let open = findings.resources.iter().filter(|resource| resource.state != ResourceState::Applied);
    let words = |resource: &ResourceStatus| {
        let why = resource.faults.first().map_or_else(|| "it was not reached".to_owned(), shown);
        format!("managed resource {} is {}: {why}", resource.name, resource.state)
    };
    let left = findings.removed.iter().filter(|removed| !removed.objects.is_empty());
    open.map(words)
        .chain(left.map(|removed| format!("managed resource {} is not wholly removed yet", removed.name)))
        .collect()
}

/// The failure that resources are which are not as they should be, where that is all that was asked for.
fn unapplied(findings: &ConfigureFindings) -> Option<Failure> {
    let words = warnings(findings);
    let first = words.first()?;
    let more = words.len() - 1;
    let waits = findings.resources.iter().all(|resource| resource.state != ResourceState::Failed);
    Some(Failure {
        class: FailureClass::Addon,
        message: if more == 0 { first.clone() } else { format!("{first}; and {more} more") },
        line: None,
        retryable: waits,
        remedy:
            "Mend the manifest by what the cluster's API says, and send it again; each resource shows its own faults."
                .into(),
    })
}
