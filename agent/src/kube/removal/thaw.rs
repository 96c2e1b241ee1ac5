//! What *freeze* did is undone, in a cluster that stays after all: its removal was cancelled or failed, and
//! it is configured again.
//!
//! The quotas are the sign that a cluster is frozen: *freeze* makes them first, and they go last here, so
//! that what was interrupted is seen and done again.

use serde_json::{Value, json};

use super::freeze::{NAME, POLICY_GROUP, path_of, policies, replicas};
use super::{FIELD_MANAGER, all, name_of, text};
use crate::kube::api::{Api, escape};
use crate::kube::basics::MANAGED_BY;
use crate::kube::fault::ApiFault;
use crate::step::Console;

/// Undoes it where there is something to undo.
///
/// # Errors
/// From the cluster's API; what was undone until then stays so.
pub(in crate::kube) async fn run(api: &Api, console: &dyn Console) -> Result<(), ApiFault> {
    let ours = escape(&format!("{MANAGED_BY}=cratekube"));
    let quotas = all(api, &format!("/api/v1/resourcequotas?labelSelector={ours}")).await?;
    let quotas: Vec<Value> = quotas.into_iter().filter(|quota| quota["metadata"]["name"] == NAME).collect();
    if quotas.is_empty() {
        return Ok(());
    }
    console.line("the cluster was frozen for a removal; that is undone");
    scale_up(&api.clone().under(FIELD_MANAGER), console).await?;
    for (name, ..) in policies() {
        for version in ["v1", "v1beta1"] {
            let root = format!("/apis/{POLICY_GROUP}/{version}");
            for kind in ["validatingadmissionpolicybindings", "validatingadmissionpolicies"] {
                let path = format!("{root}/{kind}/{name}");
                if let Some(found) = api.get(&path).await? {
                    api.delete(&path, text(&found["metadata"]["uid"])).await?;
                }
            }
        }
    }
    for quota in &quotas {
        let metadata = &quota["metadata"];
        let path = format!("/api/v1/namespaces/{}/resourcequotas/{NAME}", escape(text(&metadata["namespace"])));
        api.delete(&path, text(&metadata["uid"])).await?;
    }
    console.line(&format!("load balancers, ingresses and claims are allowed again in {} namespaces", quotas.len()));
    Ok(())
}

async fn scale_up(api: &Api, console: &dyn Console) -> Result<(), ApiFault> {
    for deployment in all(api, "/apis/apps/v1/deployments").await? {
        let (now, Some(before)) = replicas(&deployment) else { continue };
        // Whoever scaled it since knows better.
        let wanted = if now == 0 { before } else { now };
        let metadata = &deployment["metadata"];
        let restored = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
            "spec": {"replicas": wanted},
        });
        api.apply(&path_of(&deployment), &restored, true).await?;
        console.line(&format!("deployment {} has {wanted} replicas again", name_of(&deployment)));
    }
    Ok(())
}
