//! `[data]`: where the controller keeps what it must not lose.

use std::path::PathBuf;

use cratekube_common::domain::secret::Secret;
use cratekube_common::intake::Field;

use crate::keys::master::MasterKeySource;

/// Where Debian keeps the state of services.
const DEFAULT_DIRECTORY: &str = "/var/lib/cratekube-controller";

/// The `[data]` section.
#[derive(Debug, Clone)]
pub struct Data {
    /// `directory`: made 0700 on the first start.
    pub directory: PathBuf,
    /// `master_key` (better given as `CRATEKUBE_DATA__MASTER_KEY`), `master_key_file` or
    /// `master_key_command`; without any, a file beside the data.
    pub master_key: MasterKeySource,
}

impl Data {
    pub(super) fn from_field(at: &Field<'_>) -> Self {
        let mut section = Self { directory: DEFAULT_DIRECTORY.into(), master_key: MasterKeySource::Local };
        let Some(mut o) = at.object() else { return section };
        let directory = o.field("directory");
        if let Some(text) = directory.string() {
            if text.is_empty() {
                directory.error("must not be empty");
            }
            section.directory = text.into();
        }
        let (key, file, command) = (o.field("master_key"), o.field("master_key_file"), o.field("master_key_command"));
        let given = [&key, &file, &command].into_iter().filter(|field| field.is_present());
        given.skip(1).for_each(|field| field.error("only one of master_key, master_key_file and master_key_command"));
        if let Some(text) = key.string() {
            let is_hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hex && text.len() != 44 {
                key.error("must be 64 hexadecimal characters; make one with `openssl rand -hex 32`");
            }
            section.master_key = MasterKeySource::Given(Secret::new(text));
        }
        if let Some(text) = file.string() {
            section.master_key = MasterKeySource::File(text.into());
        }
        if let Some(items) = command.items() {
            if items.is_empty() {
                command.error("must hold a program and its arguments, each a text of its own");
            }
            let words = items.iter().filter_map(|item| item.string().map(ToOwned::to_owned)).collect();
            section.master_key = MasterKeySource::Command(words);
        }
        o.finish();
        section
    }
}
