//! Alarms.

use cratekube_common::domain::alarm::{Alarm, NewAlarm};
use cratekube_common::domain::audit::AuditEntry;
use cratekube_common::domain::time::Timestamp;

/// An alarm for something that changed nothing.
#[derive(Debug, Clone)]
pub struct RingAlarm {
    /// What rings.
    pub alarm: NewAlarm,
    /// Kept when it is new.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// Somebody has seen to an alarm.
#[derive(Debug, Clone)]
pub struct Acknowledge {
    /// Its number.
    pub number: u64,
    /// What was found, or done about it.
    pub reason: String,
    /// The audit entry; its actor is who has seen to it.
    pub audit: AuditEntry,
    /// When.
    pub now: Timestamp,
}

/// What became of an acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acknowledged {
    /// Recorded.
    Now(Box<Alarm>),
    /// Somebody had seen to it before.
    Already,
    /// No such alarm.
    NotFound,
}
