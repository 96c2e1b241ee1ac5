//! `ca`.

use http::Method;
use serde_json::{Value, json};

use super::{Command, Session};
use crate::client::args::Global;
use crate::client::args::ca::{CaCommand, Step, StepOver};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;
use crate::client::profile::{Profile, ProfileFile};
use crate::client::show::CA;

const PATH: &str = "/v1/admin/ca";
/// Whom to trust, as PEM.
const PEM: &str = "/ca.pem";

pub(super) async fn run(session: &Session, command: CaCommand) -> Result<Exit, Fault> {
    let step = |Step { because }| json!({"reason": because.reason});
    let over = |StepOver { because, leave_behind }| json!({"reason": because.reason, "leave_behind": leave_behind});
    let (name, body) = match command {
        CaCommand::Rotate(wish) => ("rotate", step(wish)),
        CaCommand::Switch(wish) => ("switch", over(wish)),
        CaCommand::RollBack(wish) => ("roll-back", step(wish)),
        CaCommand::Finish(wish) => ("finish", over(wish)),
        // It needs the profile; see `trust`.
        CaCommand::Trust => return Ok(Exit::Done),
        CaCommand::Show => {
            let ca = session.api.get(PATH).await?;
            return session.printer.one(&CA, &ca).map(|()| Exit::Done);
        }
    };
    let ca = session.api.send(&Ask::change(Method::POST, format!("{PATH}/{name}"), Some(body))).await?;
    session.printer.one(&CA, &ca)?;
    session.console.note(next(&ca));
    Ok(Exit::Done)
}

/// What comes next, for people.
fn next(ca: &Value) -> &'static str {
    match (ca["phase"].as_str(), ca["rolled_back"] == true) {
        (Some("introduced"), _) => {
            "Have everybody trust the new CA (`cratekube ca trust`, or the controller's /ca.pem) and wait until no agent \
             is behind; then `cratekube ca switch`. Make a backup now."
        }
        (Some("switched"), false) => {
            "See that everybody gets in, then `cratekube ca finish`; `cratekube ca roll-back` goes back until then."
        }
        (Some("switched"), true) => "Wait until no agent is behind, then `cratekube ca finish`.",
        _ => "Make a backup now: with one from before, no agent gets in.",
    }
}

/// Keeps what the controller is to be trusted under in the profile.
pub(super) async fn trust(command: &Command, global: &Global) -> Result<Exit, Fault> {
    let file = ProfileFile::named(&global.profile, &command.surroundings)?;
    let profile = file.read()?.ok_or_else(|| super::not_logged_in(&global.profile))?;
    let pem = command.api(&profile, None, global)?.text(&Ask::get(PEM)).await?;
    let known = cratekube_common::runtime::tls::certificates(pem.as_bytes());
    let known = known.ok().filter(|certificates| !certificates.is_empty());
    let count = known.ok_or_else(|| Fault::Odd(format!("{PEM} has no certificates")))?.len();
    let profile = Profile { ca: pem, ..profile };
    // A listener with a certificate from elsewhere is not trusted under the service's own CA.
    command.api(&profile, None, global)?.text(&Ask::get(PEM)).await.map_err(|fault| match fault {
        Fault::Untrusted { .. } => Fault::usage(
            "the controller's listener for users does not have a certificate of its CA",
            "You have nothing to do: the rotation of the CA does not concern this profile, which is as it was.",
        ),
        fault => fault,
    })?;
    file.write(&profile)?;
    let what = if count == 1 { "1 CA is".to_owned() } else { format!("{count} CAs are") };
    command.console.note(&format!("{what} trusted now (profile {}: {}).", global.profile, file.path().display()));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_what_comes_next() {
        let said = |phase: &str, back: bool| next(&json!({"phase": phase, "rolled_back": back}));
        assert!(said("introduced", false).contains("ca switch") && said("switched", false).contains("ca finish"));
        assert!(said("switched", true).contains("behind") && said("none", false).contains("backup"));
    }
}
