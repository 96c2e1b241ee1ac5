//! One managed resource: its objects applied, and what left it taken away.
//!
//! Every object carries the label [`OWNER_LABEL`] with the resource's name. Nothing is deleted that does
//! not carry it, so that what somebody else made under an old name stays. The label also finds objects
//! of a run that was killed before it could tell of them.

use std::time::Duration;

use cratekube_common::domain::cluster::manifest::{self, KindScope, OWNER_LABEL, Object, Scope};
use cratekube_common::domain::cluster::resource::{
    ManagedResource, ObjectFault, ObjectRef, RemovalStatus, RemovedResource, ResourceMode, ResourceState,
    ResourceStatus, digest,
};
use cratekube_common::intake::Notes;
use serde_json::{Value, json};

use super::api::{Api, escape};
use super::fault::ApiFault;
use super::kinds::{Kinds, Place};

/// Looks for a kind that may still come, as after the definition of a kind.
const LOOKS: u32 = 15;
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The first look comes soon: most definitions are served within a moment.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// Applies and removes resources of one cluster.
pub(super) struct Manager<'a> {
    api: &'a Api,
    kinds: Kinds<'a>,
    scope: &'a Scope,
}

/// Why an object is not as it should be.
struct Hindrance {
    reason: String,
    message: String,
    /// Whether it may come right without anybody changing the manifest.
    passing: bool,
}

impl<'a> Manager<'a> {
    pub(super) fn new(api: &'a Api, scope: &'a Scope) -> Self {
        Self { api, kinds: Kinds::of(api), scope }
    }

    /// Brings a resource to its manifest. `taken` has the objects of the resources before it.
    pub(super) async fn apply(&self, resource: &ManagedResource, taken: &mut Vec<ObjectRef>) -> ResourceStatus {
        let mut status = ResourceStatus::pending(resource);
        let notes = Notes::default();
        let objects = manifest::read(resource.manifest.expose(), self.scope, "", &notes);
        status.digest = digest(resource.manifest.expose());
        let refused = notes.into_faults().errors;
        if !refused.is_empty() {
            status.state = ResourceState::Failed;
            status.faults = refused.into_iter().map(|fault| by_rule(&fault.detail)).collect();
            return status;
        }
        let mut hindrances = Vec::new();
        let mut applied: Vec<ObjectRef> = Vec::new();
        for object in in_order(objects) {
            let name = object.object.clone();
            match self.apply_object(&resource.name.to_string(), object, taken).await {
                Ok(object) => applied.push(object),
                Err(hindrance) => hindrances.push((name, hindrance)),
            }
        }
        taken.extend(applied.iter().cloned());
        if resource.mode == ResourceMode::Sync {
            let left = self.left_behind(resource, &applied).await;
            if hindrances.is_empty() {
                let (still_there, why) = self.remove_objects(&resource.name.to_string(), left).await;
                hindrances.extend(why);
                applied.extend(still_there);
            } else {
                // What failed may be under another name now: nothing is taken away before all is there.
                applied.extend(left);
            }
        }
        status.state = match hindrances.as_slice() {
            [] => ResourceState::Applied,
            all if all.iter().all(|(_, hindrance)| hindrance.passing) => ResourceState::Pending,
            _ => ResourceState::Failed,
        };
        status.objects = applied;
        status.faults = hindrances.into_iter().map(|(object, hindrance)| hindrance.about(object)).collect();
        status
    }

    /// Takes a deleted resource from the cluster.
    pub(super) async fn remove(&self, resource: &RemovedResource) -> RemovalStatus {
        let (mut objects, mut faults) = (Vec::new(), Vec::new());
        if resource.mode == ResourceMode::Sync {
            let all = self.labelled(&resource.name.to_string(), &resource.objects).await;
            let (left, why) = self.remove_objects(&resource.name.to_string(), all).await;
            objects = left;
            faults = why.into_iter().map(|(object, hindrance)| hindrance.about(object)).collect();
        }
        RemovalStatus { name: resource.name.clone(), objects, faults }
    }

    async fn apply_object(&self, owner: &str, mut object: Object, taken: &[ObjectRef]) -> Result<ObjectRef, Hindrance> {
        let place = self.place(&object.object).await?;
        manifest::check_place(&object.object, place.scope, self.scope)
            .map_err(|(rule, words)| Hindrance::lasting(rule, &words))?;
        if place.scope == KindScope::Namespaced && object.object.namespace.is_none() {
            object.object.namespace = only(self.scope)
                .ok_or_else(|| {
                    Hindrance::lasting(
                        "namespace-missing",
                        "needs metadata.namespace: there is more than one to choose from",
                    )
                })?
                .into();
            object.value["metadata"]["namespace"] = json!(object.object.namespace);
        }
        if taken.iter().any(|other| other.is_same_object(&object.object)) {
            return Err(Hindrance::lasting("object-taken", "is already an object of another managed resource"));
        }
        let path = place.path(&object.object);
        let live = self.api.get(&path).await?;
        let holder = live.as_ref().and_then(|live| live["metadata"]["labels"][OWNER_LABEL].as_str());
        if let Some(holder) = holder.filter(|holder| *holder != owner) {
            return Err(Hindrance::lasting(
                "object-taken",
                &format!("is already an object of the managed resource {holder}"),
            ));
        }
        object.value["metadata"]["labels"][OWNER_LABEL] = json!(owner);
        self.api.apply(&path, &object.value, false).await?;
        Ok(object.object)
    }

    /// Where a kind is, after waiting a while for one that is not there yet.
    async fn place(&self, object: &ObjectRef) -> Result<Place, Hindrance> {
        let mut delay = FIRST_LOOK;
        for _ in 0..LOOKS {
            if let Some(place) = self.kinds.find(&object.api_version, &object.kind).await? {
                return Ok(place);
            }
            tokio::time::sleep(delay).await;
            delay = LOOK_EVERY;
        }
        let words = format!("no matches for kind {:?} in version {:?}", object.kind, object.api_version);
        Err(Hindrance { reason: "NoMatch".into(), message: words, passing: true })
    }

    /// Objects of the resource that its manifest does not have any more.
    async fn left_behind(&self, resource: &ManagedResource, applied: &[ObjectRef]) -> Vec<ObjectRef> {
        let known: Vec<ObjectRef> = resource.previous.iter().chain(applied).cloned().collect();
        let mut left = self.labelled(&resource.name.to_string(), &known).await;
        left.retain(|object| !applied.iter().any(|kept| kept.is_same_object(object)));
        left
    }

    /// `known`, and every object that carries the resource's label and is of a kind and in a namespace of one of them.
    async fn labelled(&self, owner: &str, known: &[ObjectRef]) -> Vec<ObjectRef> {
        let mut all: Vec<ObjectRef> = Vec::new();
        let mut looked = Vec::new();
        for object in known {
            if !all.iter().any(|other| other.is_same_object(object)) {
                all.push(object.clone());
            }
            let Ok(Some(place)) = self.kinds.find(&object.api_version, &object.kind).await else { continue };
            let collection = place.collection(object);
            if looked.contains(&collection) {
                continue;
            }
            let selector = escape(&format!("{OWNER_LABEL}={owner}"));
            let found = self.api.list(&format!("{collection}?labelSelector={selector}")).await.unwrap_or_default();
            for name in found.iter().filter_map(|item| item["metadata"]["name"].as_str()) {
                let other = ObjectRef { name: name.to_owned(), ..object.clone() };
                if !all.iter().any(|known| known.is_same_object(&other)) {
                    all.push(other);
                }
            }
            looked.push(collection);
        }
        all
    }

    /// Removes objects, the last first; answers those that are still there, and why.
    async fn remove_objects(
        &self,
        owner: &str,
        objects: Vec<ObjectRef>,
    ) -> (Vec<ObjectRef>, Vec<(ObjectRef, Hindrance)>) {
        let (mut left, mut why) = (Vec::new(), Vec::new());
        for object in objects.into_iter().rev() {
            if let Err(hindrance) = self.remove_object(owner, &object).await {
                left.push(object.clone());
                why.push((object, hindrance));
            }
        }
        (left, why)
    }

    async fn remove_object(&self, owner: &str, object: &ObjectRef) -> Result<(), Hindrance> {
        let place = match self.kinds.find(&object.api_version, &object.kind).await? {
            Some(place) => place,
            // Its definition is gone, and its objects with it.
            None => return Ok(()),
        };
        let path = place.path(object);
        let Some(live) = self.api.get(&path).await? else { return Ok(()) };
        if live["metadata"]["labels"][OWNER_LABEL] != owner {
            return Ok(());
        }
        let uid = live["metadata"]["uid"].as_str().unwrap_or_default();
        if self.api.delete(&path, uid).await? {
            return Ok(());
        }
        match self.api.get(&path).await? {
            Some(live) if live["metadata"]["uid"] == uid => Err(Hindrance {
                reason: "Terminating".into(),
                message: format!("waits for its finalizers: {}", finalizers(&live)),
                passing: true,
            }),
            _ => Ok(()),
        }
    }
}

impl From<ApiFault> for Hindrance {
    fn from(fault: ApiFault) -> Self {
        // A namespace that is missing may be another resource's.
        let passing = fault.is_passing() || fault.is_not_found();
        let message = match &fault {
            ApiFault::Refused(refusal) if refusal.owned_by_others => format!(
                "{} (fields that another manager owns are not taken over: leave them out, or have it give them up)",
                refusal.message
            ),
            fault => fault.message().to_owned(),
        };
        Self { reason: fault.reason().to_owned(), message, passing }
    }
}

impl Hindrance {
    fn lasting(rule: &str, words: &str) -> Self {
        Self { reason: rule.to_owned(), message: words.to_owned(), passing: false }
    }

    fn about(self, object: ObjectRef) -> ObjectFault {
        ObjectFault { object: Some(object), reason: self.reason, message: self.message }
    }
}

fn by_rule(detail: &str) -> ObjectFault {
    let (rule, words) = detail.split_once(": ").unwrap_or(("manifest", detail));
    ObjectFault { object: None, reason: rule.to_owned(), message: words.to_owned() }
}

/// Namespaces and definitions first; else as they are written.
fn in_order(mut objects: Vec<Object>) -> Vec<Object> {
    objects.sort_by_key(|object| match object.object.kind.as_str() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        _ => 2,
    });
    objects
}

fn only(scope: &Scope) -> Option<String> {
    let mut namespaces = scope.namespaces.iter();
    namespaces.next().filter(|_| namespaces.next().is_none()).cloned()
}

fn finalizers(object: &Value) -> String {
    let names = object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "what is in it".to_owned() } else { names.join(", ") }
}
