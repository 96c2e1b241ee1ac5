//! Changing a cluster: weighing what is wanted against what is there, and recording it.

use cratekube_common::domain::agent::Agent;
use cratekube_common::domain::cluster::spec::ClusterSpec;
use cratekube_common::domain::cluster::{Cluster, ClusterPhase};
use cratekube_common::domain::environment::EnvironmentPattern;
use cratekube_common::domain::id::OperationId;
use cratekube_common::domain::name::{ClusterName, EnvironmentName};
use cratekube_common::domain::operation::OperationKind;
use cratekube_common::domain::run::RkeBinary;

use super::clusters::{IdempotencyKey, Receipt};
use super::spec_secrets::{open_secrets, seal_secrets};
use super::{Actor, Service, ServiceError};
use crate::plan::assignment::takes_work;
use crate::plan::change::{self, Built, Change};
use crate::plan::policy::{self, Verdict};
use crate::store::{AcceptReconfigure, Page, PageRequest, PresentCluster, Revision, SpecChange, StoreError};

/// A cluster that is looked at in order to change it.
#[derive(Debug, Clone)]
pub struct Present {
    /// The cluster, secrets masked.
    pub cluster: Cluster,
    /// Its spec, with its secrets.
    pub spec: ClusterSpec,
    /// The newest spec that it was found to be as, secrets masked.
    pub verified: Option<ClusterSpec>,
    /// The agent that serves its state volume.
    pub agent: Option<Agent>,
    /// What that agent runs.
    pub rke: Option<RkeBinary>,
    /// Kubernetes versions that this agent offers.
    pub offered: Vec<String>,
}

impl Present {
    /// What a spec would change.
    #[must_use]
    pub fn changes(&self, wanted: &ClusterSpec) -> Vec<Change> {
        let built = match (&self.verified, self.cluster.generation) {
            (Some(_), _) => Built::Whole,
            (None, Some(_)) => Built::Begun,
            (None, None) => Built::Nothing,
        };
        let present = change::Present { spec: &self.spec, built, verified: self.verified.as_ref() };
        change::changes(&present, wanted)
    }

    /// True when the cluster is as its spec says, as far as is known.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.cluster.phase == ClusterPhase::Ready && self.cluster.operation.is_none()
    }
}

/// A spec that is wanted in the place of another.
#[derive(Debug, Clone)]
pub struct WantedSpec {
    /// The cluster that was looked at.
    pub present: Present,
    /// Desired state, with its secrets.
    pub spec: ClusterSpec,
    /// What validation and policy warned of.
    pub warnings: Vec<String>,
    /// What it changes, in words, for the audit.
    pub detail: String,
}

impl Service {
    /// A cluster, with what a change of it is weighed against.
    ///
    /// # Errors
    /// When there is none, its secrets cannot be opened, or the store fails.
    pub async fn present(&self, environment: &EnvironmentName, name: &ClusterName) -> Result<Present, ServiceError> {
        let found = self.store.present_cluster(environment, name).await?.ok_or(ServiceError::NotFound)?;
        if found.cluster.phase == ClusterPhase::Removed {
            return Err(ServiceError::NotFound);
        }
        let PresentCluster { cluster, sealed_secrets, verified, agent } = found;
        let mut spec = cluster.spec.clone();
        if let Some(sealed) = sealed_secrets {
            let secrets = open_secrets(&*self.vault, cluster.id, &sealed)
                .map_err(|fault| StoreError::Damaged(format!("the secrets of cluster {}: {fault}", cluster.id)))?;
            spec.put_secrets(secrets);
        }
        let facts = agent.as_ref().and_then(|agent| agent.facts.clone());
        let (rke, offered) = facts.map(|facts| (facts.rke, facts.kubernetes_versions)).unwrap_or_default();
        let verified = verified.map(|revision| revision.spec);
        Ok(Present { cluster, spec, verified, agent, rke, offered })
    }

    /// Records a changed spec, or that the present one is to be applied again; an agent sees to it from
    /// here on.
    ///
    /// # Errors
    /// When it was not recorded, and why.
    pub async fn reconfigure(
        &self,
        actor: &Actor,
        wanted: WantedSpec,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<Receipt, ServiceError> {
        let WantedSpec { present, mut spec, warnings, detail } = wanted;
        let cluster = present.cluster;
        let change = (spec != present.spec).then(|| {
            let secrets = spec.take_secrets();
            SpecChange { spec, sealed_secrets: seal_secrets(self.vault.as_ref(), cluster.id, &secrets) }
        });
        let object = format!("{}/{}", cluster.environment, cluster.name);
        let request = AcceptReconfigure {
            cluster: cluster.id,
            revision: cluster.revision,
            operation: self.mint.id::<OperationId>(),
            tasks: self.planned(OperationKind::Reconfigure),
            environment: cluster.environment,
            name: cluster.name,
            change,
            requested_by: actor.subject.clone(),
            warnings,
            idempotency: self.idempotency(actor, idempotency),
            audit: actor.audit("cluster.reconfigure", object, detail),
            now: self.clock.now(),
        };
        self.receipt(self.store.accept_reconfigure(request).await?)
    }

    /// The operation of a request that was made before under this key.
    ///
    /// # Errors
    /// When the key was used for another request, or the store fails.
    pub async fn repeated(&self, actor: &Actor, key: Option<&IdempotencyKey>) -> Result<Option<Receipt>, ServiceError> {
        let Some(key) = self.idempotency(actor, key.cloned()) else { return Ok(None) };
        let answer = self.store.repeated(key, self.clock.now()).await?;
        answer.map(|acceptance| self.receipt(acceptance)).transpose()
    }

    /// The specs that a cluster had, newest first.
    ///
    /// # Errors
    /// When there is no such cluster, or the store fails.
    pub async fn revisions(
        &self,
        environment: &EnvironmentName,
        name: &ClusterName,
        page: PageRequest,
    ) -> Result<Page<Revision>, ServiceError> {
        let cluster = self.cluster(environment, name).await?;
        Ok(self.store.revisions(cluster.id, page).await?)
    }

    /// What the environment's policy says of a new cluster.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn weigh_new(&self, environment: &EnvironmentName, spec: &ClusterSpec) -> Result<Verdict, ServiceError> {
        let candidates = self.candidates(environment).await?;
        Ok(policy::judge(self.policy.rule(environment), &candidates, Some(spec), self.clock.now()))
    }

    /// What the environment's policy says of bringing a cluster to this spec.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn weigh_change(&self, present: &Present, spec: &ClusterSpec) -> Result<Verdict, ServiceError> {
        let environment = &present.cluster.environment;
        let Some(rke) = &present.rke else { return self.weigh_new(environment, spec).await };
        let candidates = std::slice::from_ref(rke);
        Ok(policy::judge(self.policy.rule(environment), candidates, Some(spec), self.clock.now()))
    }

    /// Whether the environment's policy allows a cluster to be brought to its spec once more.
    ///
    /// # Errors
    /// When it does not, there is no such cluster, or the store fails.
    pub(super) async fn allow_again(
        &self,
        environment: &EnvironmentName,
        name: &ClusterName,
    ) -> Result<(), ServiceError> {
        let present = self.present(environment, name).await?;
        let verdict = self.weigh_change(&present, &present.spec).await?;
        if verdict.refused.is_empty() { Ok(()) } else { Err(ServiceError::Policy(verdict.refused)) }
    }

    /// The `rke` of every agent that a new cluster of the environment may be given to.
    async fn candidates(&self, environment: &EnvironmentName) -> Result<Vec<RkeBinary>, ServiceError> {
        let mut found = Vec::new();
        let mut page = PageRequest { after: None, limit: 500 };
        let may = |pattern: &EnvironmentPattern| pattern.matches(environment);
        loop {
            let agents = self.store.agents(page.clone()).await?;
            let able = agents.items.into_iter().filter(|agent| takes_work(agent.state) && may(&agent.environments));
            found.extend(able.filter_map(|agent| agent.facts?.rke));
            match agents.next {
                Some(next) => page.after = Some(next),
                None => return Ok(found),
            }
        }
    }
}
