//! `login`: tries a credential and stores it with where it belongs.

use std::path::Path;

use super::{Command, credential_around, read_ca};
use crate::client::address::Address;
use crate::client::args::{Global, login::Login};
use crate::client::credential::{self, Credential};
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::dial::{self, DialFault};
use crate::client::profile::{Profile, ProfileFile};
use crate::client::settings;

pub(super) async fn login(command: &Command, global: &Global, wish: Login) -> Result<Exit, Fault> {
    let file = ProfileFile::named(&global.profile, &command.surroundings)?;
    let address = address(command, wish.address.clone())?;
    let ca = authority(command, &address, &wish).await?;
    let credential = match (&wish.credential, credential_around(&command.surroundings)) {
        (Some(from), _) => Credential::of(credential::read(from)?),
        (None, Some(around)) => around,
        (None, None) => Credential::of(credential::read(Path::new("-"))?),
    };
    let mut profile = Profile { address, ca, environment: wish.environment, credential };
    let api = command.api(&profile, None, global)?;
    let environments = api.environments().await?;
    profile.credential = api.credential().await;
    file.write(&profile)?;
    let seen = |e: &serde_json::Value| Some(format!("{} ({})", e["name"].as_str()?, e["role"].as_str()?));
    let seen: Vec<_> = environments.iter().filter_map(seen).collect();
    let seen = if seen.is_empty() { "none yet".to_owned() } else { seen.join(", ") };
    let shown = file.path().display();
    command.console.note(&format!("Logged in at {} (profile {}: {shown}).", api.address(), global.profile));
    command.console.note(&format!("Environments that you see: {seen}."));
    Ok(Exit::Done)
}

fn address(command: &Command, given: Option<Address>) -> Result<Address, Fault> {
    let around = command.surroundings.get(settings::ADDRESS).map(str::parse).transpose();
    let around = around.map_err(|why: String| Fault::usage(format!("CK_ADDRESS: {why}"), ""))?;
    given
        .or(around)
        .ok_or_else(|| Fault::usage("no controller is named", "Name it with `--address https://host:port`."))
}

/// The authority that the controller is to be trusted under.
async fn authority(command: &Command, address: &Address, wish: &Login) -> Result<String, Fault> {
    let fault = |fault| match fault {
        DialFault::Unreachable(reason) => Fault::Unreachable { address: address.to_string(), reason },
        DialFault::Untrusted(reason) => Fault::Untrusted { address: address.to_string(), reason },
    };
    if let Some(sha256) = &wish.ca_fingerprint {
        return dial::fetch_authority(address.clone(), sha256).await.map_err(fault);
    }
    let around = || command.surroundings.get(settings::CA).map(Into::into);
    let path = wish.ca.clone().or_else(around).ok_or_else(|| {
        let remedy = "Give `--ca FILE` with the controller's `ca.pem`, or `--ca-fingerprint`; its operator has both.";
        Fault::usage("it is not known whom to trust", remedy)
    })?;
    read_ca(&path)
}
