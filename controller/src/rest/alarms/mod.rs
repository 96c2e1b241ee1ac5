//! `/v1/admin/alarms`.

pub(super) mod acknowledge;
pub(super) mod list;
