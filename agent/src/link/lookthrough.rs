//! A session with a controller that was restored from a backup: it is told everything that the volumes
//! know, and says which runs it wants to hear of again. Nothing else is said in it.

use cratekube_common::domain::id::VolumeId;
use cratekube_proto::v1;
use cratekube_proto::v1::agent_message::Message as Up;
use cratekube_proto::v1::controller_message::Message as Down;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::port::Engine;

/// Tells what the volumes know, until the controller ends the session.
pub(super) async fn tell(
    engine: &dyn Engine,
    volumes: &[String],
    up: &mpsc::Sender<v1::AgentMessage>,
    down: &mut Streaming<v1::ControllerMessage>,
) -> Result<(), Status> {
    for volume in volumes {
        tracing::info!(volume, "the controller was restored from a backup and looks through a volume");
        for message in inventory(engine, volume).await {
            let message = v1::AgentMessage { message: Some(Up::Inventory(message)) };
            if up.send(message).await.is_err() {
                break;
            }
        }
    }
    while let Some(message) = down.message().await? {
        match message.message {
            Some(Down::ReportAgain(again)) => {
                let attempts = again.attempts.iter().filter_map(|attempt| attempt.parse().ok()).collect();
                engine.report_again(attempts).await;
            }
            Some(Down::Shutdown(_)) => return Ok(()),
            _ => tracing::debug!("the controller said something that does not belong here"),
        }
    }
    Ok(())
}

async fn inventory(engine: &dyn Engine, volume: &str) -> Vec<v1::Inventory> {
    let last = |fault: String| v1::Inventory { volume: volume.to_owned(), cluster: None, complete: true, fault };
    let looked = match volume.parse::<VolumeId>() {
        Ok(id) => engine.look_through(id).await,
        Err(error) => Err(error.to_string()),
    };
    match looked {
        Ok(clusters) => {
            let told = clusters.into_iter().map(|cluster| v1::Inventory {
                volume: volume.to_owned(),
                cluster: Some(cluster.into()),
                ..v1::Inventory::default()
            });
            told.chain([last(String::new())]).collect()
        }
        Err(fault) => {
            tracing::error!(volume, fault, "a volume cannot be looked through");
            vec![last(fault)]
        }
    }
}
