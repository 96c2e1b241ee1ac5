//! `/v1/admin/revocations`.

pub(super) mod create;
pub(super) mod list;
