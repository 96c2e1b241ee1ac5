//! The calls of an enrolled agent: who calls is checked here, the rest is in `session` and `output`.

use cratekube_proto::status::Refusal;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_link_server::AgentLink;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{GrpcState, enrollment, output, peer, session, store_status};
use crate::plan::standing::Call;
use crate::store::{RenewAgent, Renewed};

/// The link service.
#[derive(Debug)]
pub struct Link {
    state: GrpcState,
}

impl Link {
    /// The service.
    #[must_use]
    pub fn new(state: GrpcState) -> Self {
        Self { state }
    }
}

#[async_trait]
impl AgentLink for Link {
    type SessionStream = ReceiverStream<Result<v1::ControllerMessage, Status>>;
    type OutputStream = ReceiverStream<Result<v1::OutputStored, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let caller = peer::identify(&self.state, &request, Call::Work).await?;
        Ok(Response::new(session::open(self.state.clone(), caller, request.into_inner())))
    }

    async fn output(
        &self,
        request: Request<Streaming<v1::OutputChunk>>,
    ) -> Result<Response<Self::OutputStream>, Status> {
        let caller = peer::identify(&self.state, &request, Call::Work).await?;
        Ok(Response::new(output::open(self.state.clone(), caller, request.into_inner())))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let caller = peer::identify(&self.state, &request, Call::Renew).await?;
        let (state, agent) = (&self.state, &caller.agent);
        let csr = request.into_inner().csr;
        let issued = state.authority.issue_agent(&csr, agent.id, &agent.name, caller.generation + 1, None);
        let issued = issued.map_err(|e| enrollment::not_issued(&e))?;
        let (shown, certificate) = (caller.shown.serial.clone(), issued.facts());
        let request = RenewAgent { agent: agent.id, shown, certificate, now: state.clock.now() };
        match state.store.renew_agent(request).await.map_err(|e| store_status(&e))? {
            Renewed::Now => {}
            Renewed::Superseded => {
                peer::quarantine(state, agent, caller.generation, &caller.address).await?;
                return Err(Refusal::Forbidden.status("the certificate was replaced; the agent's key is in two places"));
            }
            Renewed::NotAllowed => return Err(Refusal::Forbidden.status("the agent may not renew; enroll again")),
        }
        tracing::info!(agent = %agent.id, not_after = %issued.not_after, generation = issued.generation, "certificate renewed");
        let certificate = enrollment::certificate(&issued);
        Ok(Response::new(v1::RenewResponse { certificate: Some(certificate) }))
    }
}
