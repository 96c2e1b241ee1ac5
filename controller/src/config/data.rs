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
    /// `master_key` (better given as `CRATEKUBE_DATA__MASTER_KEY`) or `master_key_file`; without
    /// either, a file beside the data.
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
        let (key, file) = (o.field("master_key"), o.field("master_key_file"));
        if let Some(text) = key.string() {
            if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                key.error("must be 64 hexadecimal characters; make one with `openssl rand -hex 32`");
            }
            section.master_key = MasterKeySource::Given(Secret::new(text));
        }
        if let Some(text) = file.string() {
            if key.is_present() {
                file.error("cannot be given together with master_key; choose one");
            }
            section.master_key = MasterKeySource::File(text.into());
        }
        o.finish();
        section
    }
}
