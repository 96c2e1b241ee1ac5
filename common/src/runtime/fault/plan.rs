//! Plans: at which step what is to happen, and how often that step has come by.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Step;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The process kills itself.
    Kill,
    /// It writes half, then kills itself.
    Torn,
    /// It stops itself.
    Stop,
    /// The step fails with this number of the operating system.
    Fail(i32),
}

const ENOSPC: i32 = 28;
const EIO: i32 = 5;
const EROFS: i32 = 30;

impl Act {
    /// The step fails: there is no space.
    pub const FULL: Self = Self::Fail(ENOSPC);
    /// The step fails: the device is broken.
    pub const BROKEN: Self = Self::Fail(EIO);
    /// The step fails: nothing can be written any more.
    pub const READ_ONLY: Self = Self::Fail(EROFS);

    /// How it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Torn => "torn",
            Self::Stop => "stop",
            Self::Fail(ENOSPC) => "enospc",
            Self::Fail(EROFS) => "erofs",
            Self::Fail(_) => "eio",
        }
    }

    /// True when half of what is to be written is written before it strikes.
    pub(super) fn tears(self) -> bool {
        matches!(self, Self::Torn | Self::Fail(ENOSPC | EIO))
    }

    /// The error that a step gets.
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Self::Fail(number) => Some(io::Error::from_raw_os_error(number)),
            _ => None,
        }
    }
}

impl FromStr for Act {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Kill, Self::Torn, Self::Stop, Self::FULL, Self::BROKEN, Self::READ_ONLY];
        all.into_iter().find(|act| act.name() == text).ok_or_else(|| format!("{text:?} is nothing that can happen"))
    }
}

/// At which step what is to happen.
#[derive(Debug)]
pub struct Plan {
    act: Act,
    from: usize,
    on: bool,
    step: Option<String>,
    part: Option<String>,
    seen: AtomicUsize,
    struck: AtomicUsize,
}

impl Plan {
    /// Strikes at the `from`-th step at a path that contains `part`.
    #[must_use]
    pub fn at(act: Act, from: usize, part: &str) -> Self {
        Self {
            act,
            from,
            on: false,
            step: None,
            part: Some(part.to_owned()),
            seen: AtomicUsize::new(0),
            struck: AtomicUsize::new(0),
        }
    }

    /// Strikes at every matching step from there on.
    #[must_use]
    pub fn and_on(mut self) -> Self {
        self.on = true;
        self
    }

    /// Strikes only at steps of this name.
    #[must_use]
    pub fn only(mut self, step: &str) -> Self {
        self.step = Some(step.to_owned());
        self
    }

    /// Matching steps that came by.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }

    /// How often it has struck.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.struck.load(Ordering::SeqCst)
    }

    fn matches(&self, step: Step<'_>, path: &Path) -> bool {
        let named = self.step.as_deref().is_none_or(|name| name == step.name());
        let is_there = |path: &Path| self.part.as_deref().is_none_or(|part| path.to_string_lossy().contains(part));
        let also = match step {
            Step::Rename(to) | Step::Link(to) => is_there(to),
            _ => false,
        };
        named && (is_there(path) || also)
    }

    /// What is to happen at this step.
    pub(super) fn strikes(&self, step: Step<'_>, path: &Path) -> Option<Act> {
        if !self.matches(step, path) {
            return None;
        }
        let nth = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let strikes = nth == self.from || (self.on && nth > self.from);
        if strikes {
            self.struck.fetch_add(1, Ordering::SeqCst);
        }
        strikes.then_some(self.act)
    }
}

impl FromStr for Plan {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut fields = text.trim().splitn(3, ':');
        let head = fields.next().unwrap_or_default();
        let (act, count) = head.split_once('@').ok_or_else(|| format!("{text:?}: write act@n[+][:step[:part]]"))?;
        let (count, on) = count.strip_suffix('+').map_or((count, false), |count| (count, true));
        let from = count.parse().ok().filter(|n| *n > 0).ok_or_else(|| format!("{text:?}: count from 1"))?;
        let step = fields.next().filter(|s| !s.is_empty() && *s != "*").map(str::to_owned);
        let part = fields.next().filter(|p| !p.is_empty()).map(str::to_owned);
        Ok(Self { step, part, on, ..Self::at(act.parse()?, from, "") })
    }
}

/// Reads the plans in a variable of the environment.
///
/// # Errors
/// What is wrong with them.
pub(super) fn parse(text: &str) -> Result<Vec<Plan>, String> {
    text.split(';').filter(|plan| !plan.trim().is_empty()).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_act_count_step_and_part() {
        let plan: Plan = "enospc@2+:rename:/generations/".parse().unwrap();
        let (a, b) = (Path::new("/v/generations/1.tmp"), Path::new("/v/other"));
        assert_eq!(plan.strikes(Step::Rename(b), a), None, "the first");
        assert_eq!(plan.strikes(Step::Rename(b), b), None, "another place");
        assert_eq!(plan.strikes(Step::Sync, a), None, "another step");
        assert_eq!(plan.strikes(Step::Rename(a), b), Some(Act::FULL), "either name counts");
        assert_eq!(plan.strikes(Step::Rename(b), a), Some(Act::FULL), "and on");
        assert_eq!((plan.seen(), plan.struck()), (3, 2));
        let any: Plan = "kill@1".parse().unwrap();
        assert_eq!(any.strikes(Step::Point, b), Some(Act::Kill));
        assert_eq!(any.strikes(Step::Point, b), None, "once");
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        assert_eq!(parse("kill@1; torn@2:write:x ;").unwrap().len(), 2);
        for wrong in ["kill", "kill@0", "kill@x", "explode@1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
