//! `/v1/admin/agents`.

pub(super) mod list;
pub(super) mod show;
