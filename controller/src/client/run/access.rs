//! `cluster kubeconfig`.

use clap::ValueEnum as _;
use cratekube_common::runtime::files;
use http::Method;
use serde_json::{Value, json};

use super::Session;
use super::cluster::path;
use crate::client::args::Format;
use crate::client::args::cluster::Kubeconfig;
use crate::client::exit::Exit;
use crate::client::fault::Fault;
use crate::client::http::exchange::Ask;

/// Gets a kubeconfig: its text to standard output or into a file of the caller's own.
pub(super) async fn kubeconfig(session: &Session, wish: Kubeconfig) -> Result<Exit, Fault> {
    let path = format!("{}/kubeconfig", path(session, &wish.one)?);
    let role = wish.role.to_possible_value();
    let mut body = json!({"role": role.as_ref().map(clap::builder::PossibleValue::get_name)});
    for (field, value) in [("namespace", wish.namespace), ("ttl", wish.ttl), ("reason", wish.reason)] {
        if let Some(value) = value {
            body[field] = Value::from(value);
        }
    }
    // Twice is no worse than once: each is short-lived, and what did not arrive is nobody's.
    let made = session.api.send(&Ask::change(Method::POST, path, Some(body)).harmless()).await?;
    let text =
        made["kubeconfig"].as_str().ok_or_else(|| Fault::Odd("a kubeconfig was made and is not there".into()))?;
    if let Some(file) = &wish.file {
        files::replace(file, text.as_bytes())
            .map_err(|error| Fault::local(format!("write {}", file.display()), error))?;
        let until = made["expires_at"].as_str().unwrap_or("-");
        session.console.print(&format!("{} is good until {until}.\n", file.display()))?;
        return Ok(Exit::Done);
    }
    match session.printer.format {
        Format::Table | Format::Name | Format::Yaml => session.console.print(text)?,
        Format::Json => session.printer.document(&made)?,
    }
    Ok(Exit::Done)
}
