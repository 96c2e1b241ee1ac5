//! The spec that a request sends: every mistake in it at once, the version's too.

use cratekube_common::domain::cluster::spec::{ClusterSpec, KubernetesVersion};
use cratekube_common::intake::{Fault, Faults};
use serde_json::Value;

use crate::rest::problem::{Mistake, Problem};
use crate::rest::state::RestState;
use crate::service::versions::VersionVerdict;

/// What came of reading a spec, or all that is wrong with it.
pub(super) type Read = Result<(ClusterSpec, Vec<Fault>), Faults>;

/// Reads the `spec` of a document whose shell was read with `faults`. Comes out with a spec only when
/// it has no mistake of its own; the faults of both are in the answer.
///
/// # Errors
/// When the store cannot say which versions there are.
pub(super) async fn spec(
    state: &RestState,
    document: &Value,
    mut faults: Faults,
    read: impl FnOnce(&Value) -> Read,
) -> Result<(Option<ClusterSpec>, Faults), Problem> {
    let inner = document.get("spec").filter(|spec| spec.is_object());
    let spec = match read(inner.unwrap_or(&Value::Null)) {
        Ok((spec, warnings)) => {
            faults.warnings.extend(warnings.into_iter().map(within_spec));
            Some(spec)
        }
        Err(found) => {
            // Without an object there is nothing to say about its parts; `/spec` itself is noted.
            faults.errors.extend(found.errors.into_iter().filter(|_| inner.is_some()).map(within_spec));
            faults.warnings.extend(found.warnings.into_iter().map(within_spec));
            None
        }
    };
    let version = document.pointer("/spec/kubernetes_version").and_then(Value::as_str);
    if let Some(version) = version.and_then(|text| text.parse::<KubernetesVersion>().ok()) {
        let at = |detail| Fault { pointer: "/spec/kubernetes_version".into(), detail };
        match state.service.judge_version(&version).await? {
            VersionVerdict::Offered => {}
            VersionVerdict::Unchecked(detail) => faults.warnings.push(at(detail)),
            VersionVerdict::NotOffered(detail) => faults.errors.push(at(detail)),
        }
    }
    Ok((spec, faults))
}

/// Warnings of the policy beside those of the spec.
pub(super) fn warnings(of_spec: Vec<Fault>, of_policy: Vec<String>) -> Vec<Mistake> {
    let policy = of_policy.into_iter().map(|detail| Mistake { pointer: None, parameter: None, detail });
    of_spec.into_iter().map(Mistake::from).chain(policy).collect()
}

/// The same in words, as an operation keeps them.
pub(super) fn words(warnings: &[Mistake]) -> Vec<String> {
    let word = |warning: &Mistake| match &warning.pointer {
        Some(pointer) => format!("{pointer}: {}", warning.detail),
        None => warning.detail.clone(),
    };
    warnings.iter().map(word).collect()
}

fn within_spec(fault: Fault) -> Fault {
    Fault { pointer: format!("/spec{}", fault.pointer), ..fault }
}
