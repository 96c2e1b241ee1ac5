//! The calls of an enrolled agent: who calls is checked here, the rest is in `session` and `output`.

use cratekube_proto::status::Refusal;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_link_server::AgentLink;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{GrpcState, enrollment, output, peer, session, store_status};
use crate::store::CertificateFacts;

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
        let caller = peer::identify(&self.state, &request).await?;
        Ok(Response::new(session::open(self.state.clone(), caller, request.into_inner())))
    }

    async fn output(
        &self,
        request: Request<Streaming<v1::OutputChunk>>,
    ) -> Result<Response<Self::OutputStream>, Status> {
        let caller = peer::identify(&self.state, &request).await?;
        Ok(Response::new(output::open(self.state.clone(), caller, request.into_inner())))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let caller = peer::identify(&self.state, &request).await?;
        let csr = request.into_inner().csr;
        let issued = self.state.authority.issue_agent(&csr, caller.agent.id, &caller.agent.name);
        let issued = issued.map_err(|e| Refusal::Malformed.status(e.to_string()))?;
        let facts = CertificateFacts { serial: issued.serial.clone(), not_after: issued.not_after };
        if !self.state.store.renew_agent(caller.agent.id, facts).await.map_err(|e| store_status(&e))? {
            return Err(Refusal::Forbidden.status("the agent may not renew; enroll again"));
        }
        tracing::info!(agent = %caller.agent.id, not_after = %issued.not_after, "certificate renewed");
        let certificate = enrollment::certificate(&self.state, &issued);
        Ok(Response::new(v1::RenewResponse { certificate: Some(certificate) }))
    }
}
