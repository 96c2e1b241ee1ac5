//! An agent that is connected, and answers what the test says.

use std::sync::Arc;

use cratekube_common::domain::agent::AgentFacts;
use cratekube_common::domain::id::AgentId;
use cratekube_common::domain::query::{Answer, Query, QueryKind};
use cratekube_common::domain::run::{Assignment, RkeBinary};

use super::World;
use crate::service::conversation::{Connected, Greeting, Order};
use crate::service::dispatch::Dispatch;
use crate::store::conformance::house::{Bastion, facts};

/// A session of an agent, from the agent's side.
pub(in crate::rest) struct Agent {
    dispatch: Arc<Dispatch>,
    id: AgentId,
    pub(in crate::rest) connected: Connected,
}

impl World {
    /// Connects a bastion's agent, which answers questions of these kinds.
    pub(in crate::rest) async fn connect(&self, bastion: Bastion, answers: Vec<QueryKind>) -> Agent {
        self.connect_with(bastion, answers, None).await
    }

    /// Connects a bastion's agent, which runs this `rke`.
    pub(in crate::rest) async fn connect_with(
        &self,
        bastion: Bastion,
        answers: Vec<QueryKind>,
        rke: Option<RkeBinary>,
    ) -> Agent {
        let agent = self.house.store.agent(bastion.agent).await.unwrap().unwrap();
        let greeting = Greeting {
            facts: AgentFacts { rke, ..facts(bastion.volume) },
            runs: Vec::new(),
            agent_now: self.house.now(),
            address: "192.0.2.9".into(),
            answers,
        };
        let connected = self.dispatch.connect(&agent, greeting).await.unwrap();
        Agent { dispatch: Arc::clone(&self.dispatch), id: agent.id, connected }
    }
}

impl Agent {
    /// Offers a slot.
    pub(in crate::rest) async fn ready(&self) {
        self.dispatch.ready(self.id, self.connected.session, 1).await;
    }

    /// The next assignment.
    pub(in crate::rest) async fn assigned(&mut self) -> Assignment {
        match self.connected.orders.recv().await.expect("the session ended") {
            Order::Assign(assignment) => *assignment,
            other => panic!("told something else: {other:?}"),
        }
    }

    /// The next question.
    pub(in crate::rest) async fn asked(&mut self) -> Query {
        match self.connected.orders.recv().await.expect("the session ended") {
            Order::Ask(query) => *query,
            other => panic!("told something else: {other:?}"),
        }
    }

    /// Answers a question.
    pub(in crate::rest) fn answer(&self, query: &Query, answer: Answer) {
        self.dispatch.answered(self.id, self.connected.session, query.id, answer);
    }
}
