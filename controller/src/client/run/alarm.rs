//! `alarm` and `signing-key`.

use http::Method;
use serde_json::{Value, json};

use super::Session;
use crate::client::args::alarm::AlarmCommand;
use crate::client::args::signing_key::SigningKeyCommand;
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::show::{ALARM, SIGNING_KEY};

const ALARMS: &str = "/v1/admin/alarms";
const KEYS: &str = "/v1/admin/signing-keys";

pub(super) async fn run(session: &Session, command: AlarmCommand) -> Result<Exit, Fault> {
    match command {
        AlarmCommand::List(wish) => {
            let state = wish.state.map(crate::client::args::alarm::AlarmState::as_str);
            let items = session.api.list(ALARMS, &[("state", state)], wish.most.items()).await?;
            session.printer.list(&ALARM, &items)?;
        }
        AlarmCommand::Acknowledge(wish) => {
            let (path, body) =
                (format!("{ALARMS}/{}/acknowledge", wish.number), json!({"reason": wish.because.reason}));
            let alarm = session.api.send(&Ask::change(Method::POST, path, Some(body))).await?;
            session.printer.said(&format!("Alarm {} is seen to.", wish.number), &ALARM, &alarm)?;
        }
    }
    Ok(Exit::Done)
}

/// The keys that sign tokens.
pub(super) async fn signing_keys(session: &Session, command: SigningKeyCommand) -> Result<Exit, Fault> {
    let keys = match command {
        SigningKeyCommand::List => session.api.get(KEYS).await?,
        SigningKeyCommand::Rotate(wish) => {
            let body = json!({"reason": wish.because.reason, "at_once": wish.at_once});
            let keys = session.api.send(&Ask::change(Method::POST, format!("{KEYS}/rotate"), Some(body))).await?;
            if wish.at_once {
                session
                    .console
                    .note("Every token that was made before has ended; with an API key you go on by itself.");
            }
            keys
        }
    };
    let Value::Array(items) = &keys["items"] else { return Err(Fault::Odd("keys are not a list".into())) };
    session.printer.list(&SIGNING_KEY, items).map(|()| Exit::Done)
}
