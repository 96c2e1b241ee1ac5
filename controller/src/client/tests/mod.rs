//! Commands against a controller that answers by a script, and everything that people read.

mod following;
mod help;
mod output;
mod requests;
mod results;
mod walls;

use clap::Parser as _;
use serde_json::{Value, json};

use super::args::Cli;
use super::exit::Exit;
use super::fault::Fault;
use super::run::{Session, dispatch};
use super::testing::{Script, Written, session, token};

const OPERATION: &str = "01936f3e-7c00-7000-8000-000000000001";

/// Plays a command line; answers how it ended and what was written.
async fn play(script: &Script, line: &str) -> (Exit, Written) {
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let (session, written) = session(script, cli.global.output, token());
    (finish(&session, cli).await, written)
}

/// Ends as the program does.
async fn finish(session: &Session, cli: Cli) -> Exit {
    dispatch(session, cli.command).await.unwrap_or_else(|fault: Fault| {
        session.console.fault(&fault);
        fault.exit()
    })
}

/// An operation as the API shows it.
fn operation(state: &str) -> Value {
    json!({
        "id": OPERATION, "kind": "provision", "state": state, "environment": "prod", "cluster": "web",
        "cluster_id": "01936f3e-7c00-7000-8000-00000000000c", "requested_by": "ann", "reason": null, "retry_of": null,
        "created_at": "1970-01-01T00:06:40.000Z", "started_at": "1970-01-01T00:06:41.000Z", "ended_at": null,
        "progress": {"phase": "Deploying workers", "step": 10, "steps": 12}, "failure": null, "warnings": [],
        "waiting_for": null, "output_bytes": 0,
        "links": {"self": "/v1/operations/x", "cluster": "/v1/x", "output": "/v1/x/output"},
    })
}

/// An operation that failed.
fn failed() -> Value {
    let mut operation = operation("failed");
    operation["ended_at"] = json!("1970-01-01T00:16:40.000Z");
    operation["progress"] = Value::Null;
    operation["failure"] = json!({
        "class": "auth", "message": "192.0.2.11 does not accept the SSH key",
        "line": "Failed to dial ssh using address [192.0.2.11:22]: \u{1b}[31mssh: handshake failed",
        "retryable": true, "remedy": "Put the agent's public key into the host's authorized_keys.",
    });
    operation
}

/// A problem document.
fn problem(status: u16, title: &str) -> Value {
    json!({"type": "/problems/x", "title": title, "status": status, "detail": "d", "remedy": "r", "request_id": "q"})
}
