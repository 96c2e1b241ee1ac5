//! `/v1/admin/agents`.

pub(super) mod bar;
pub(super) mod list;
pub(super) mod show;
