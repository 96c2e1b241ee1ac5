//! Questions of the controller that are being answered: a few at once, each within its time, and none
//! beyond the session that it was asked in.
//!
//! What is answered is passed on and kept nowhere. Not here: what an answer is made of (the engine).

use std::sync::Arc;

use cratekube_common::domain::failure::{Failure, FailureClass};
use cratekube_common::domain::query::{Answer, Query, QueryKind};
use cratekube_proto::v1;
use tokio::task::JoinSet;

use super::messages;
use crate::port::{self, Engine};

/// Questions at work at once: each may wait for a cluster's API, and people ask rarely.
const MOST: usize = 16;

/// What was asked in this session and not answered yet; it ends with the session.
#[derive(Debug, Default)]
pub(super) struct Questions {
    at_work: JoinSet<v1::AgentMessage>,
}

impl Questions {
    /// Begins to answer a question, or answers it at once when that cannot be begun.
    pub(super) fn ask(&mut self, engine: &Arc<dyn Engine>, wire: v1::Query) -> Option<v1::AgentMessage> {
        let id = wire.id.clone();
        let kind: String = wire.kind.chars().take(100).collect();
        let query = match Query::try_from(wire) {
            Ok(query) => query,
            Err(_) if kind.parse::<QueryKind>().is_err() => {
                return Some(messages::answer(&id, Err(port::unanswerable(&kind))));
            }
            Err(malformed) => {
                tracing::warn!(kind, %malformed, "a question cannot be read");
                return Some(messages::answer(&id, Err(unreadable(&malformed.to_string()))));
            }
        };
        if self.at_work.len() >= MOST {
            return Some(messages::answer(&id, Err(busy())));
        }
        let about = query.about.as_ref();
        let (environment, cluster) = (about.map(|a| a.environment.as_str()), about.map(|a| a.name.as_str()));
        tracing::info!(kind, environment, cluster, "the controller asks");
        let engine = Arc::clone(engine);
        self.at_work.spawn(async move { messages::answer(&id, in_time(engine.as_ref(), query).await) });
        None
    }

    /// The next answer; nothing while nothing is asked.
    pub(super) async fn answered(&mut self) -> Option<v1::AgentMessage> {
        loop {
            match self.at_work.join_next().await? {
                Ok(answer) => return Some(answer),
                // It panicked; whoever asked gives up by itself.
                Err(error) => tracing::error!(%error, "a question was not answered; this is a defect of the agent"),
            }
        }
    }
}

async fn in_time(engine: &dyn Engine, query: Query) -> Answer {
    let patience = query.patience;
    let late = || Failure {
        class: FailureClass::Timeout,
        message: format!("there was no answer within {} s", patience.as_secs()),
        line: None,
        retryable: true,
        remedy: "Look whether what the agent asks in turn answers (the cluster's API, the cloud), and ask again."
            .into(),
    };
    tokio::time::timeout(patience, engine.ask(query)).await.unwrap_or_else(|_| Err(late()))
}

fn busy() -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the agent is answering {MOST} questions already"),
        line: None,
        retryable: true,
        remedy: "Ask again in a moment.".into(),
    }
}

fn unreadable(malformed: &str) -> Failure {
    Failure {
        class: FailureClass::Internal,
        message: format!("the agent could not read the question: {malformed}"),
        line: None,
        retryable: false,
        remedy: "Upgrade the agent or the controller so that their versions match.".into(),
    }
}
