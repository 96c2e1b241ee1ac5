//! Alarms: looking at them, and seeing to them.

use cratekube_common::domain::alarm::Alarm;

use super::{Actor, Service, ServiceError};
use crate::store::{Acknowledge, Acknowledged, Page, PageRequest};

impl Service {
    /// Alarms, newest first: all of them, only open ones, or only others.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn alarms(&self, open: Option<bool>, page: PageRequest) -> Result<Page<Alarm>, ServiceError> {
        Ok(self.store.alarms(open, page).await?)
    }

    /// Notes that somebody has seen to an alarm, and what came of it.
    ///
    /// # Errors
    /// When there is no such alarm, or somebody was there before, or the store fails.
    pub async fn acknowledge_alarm(&self, actor: &Actor, number: u64, reason: String) -> Result<Alarm, ServiceError> {
        let audit = actor.audit("alarm.acknowledge", format!("alarm/{number}"), reason.clone());
        let request = Acknowledge { number, reason, audit, now: self.clock.now() };
        match self.store.acknowledge_alarm(request).await? {
            Acknowledged::Now(alarm) => Ok(*alarm),
            Acknowledged::Already => Err(ServiceError::Acknowledged),
            Acknowledged::NotFound => Err(ServiceError::NotFound),
        }
    }
}
