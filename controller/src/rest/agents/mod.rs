//! `/v1/admin/agents`.

pub(super) mod bar;
pub(super) mod change;
pub(super) mod forget;
pub(super) mod history;
pub(super) mod list;
pub(super) mod show;
