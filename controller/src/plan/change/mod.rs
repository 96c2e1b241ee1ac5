//! What a changed spec does to a cluster: every difference, with its class and the reason.
//!
//! A change is *safe* when what runs goes on running, *disruptive* when something restarts, moves or
//! stops being there, *loses data* when something cannot be brought back afterwards, and *impossible*
//! when RKE or Kubernetes cannot do it or would only seem to. Two specs that differ anywhere have at
//! least one change; equal ones have none. Every part of the spec is taken apart by name here, so that
//! a new one does not compile before it has a class.
//!
//! What is compared is the spec last asked for, not the one last reached: after a run that failed
//! midway, nobody knows which of the two holds. [`Present::verified`] is the way back.
//!
//! Not here: what the hosts say (preflight), and whether an environment's policy allows the result.

mod nodes;
mod parts;
#[cfg(test)]
mod tests;

use cratekube_common::domain::cluster::spec::{ClusterSpec, Secrets};
use serde_json::Value;

macro_rules! classes {
    ($($(#[$meta:meta])* $class:ident = $word:literal),+ $(,)?) => {
        /// What a change costs. A later one costs more.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ChangeClass { $($(#[$meta])* $class),+ }

        impl ChangeClass {
            /// Every class, from the cheapest on.
            pub const ALL: &'static [Self] = &[$(Self::$class),+];

            /// Its one spelling.
            #[must_use]
            pub const fn as_str(self) -> &'static str { match self { $(Self::$class => $word),+ } }
        }
    };
}

classes! {
    /// What runs goes on running.
    Safe = "safe",
    /// Something restarts, moves, or is not there any more.
    Disruptive = "disruptive",
    /// Something cannot be brought back afterwards.
    LosesData = "loses_data",
    /// It cannot be done.
    Impossible = "impossible",
}

impl std::fmt::Display for ChangeClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where it is in the spec that is wanted; for what is taken away, in the present one.
    pub pointer: String,
    /// What is there now; null when nothing is. Secrets masked.
    pub from: Value,
    /// What is to be there.
    pub to: Value,
    /// What it costs.
    pub class: ChangeClass,
    /// Why, in a sentence.
    pub because: String,
}

const NEVER_WHOLE: &str = "The cluster was never whole: nothing runs in it that could be lost.";

/// How much of a cluster was ever there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Built {
    /// Nothing that left a state.
    Nothing,
    /// A state, but the cluster was never whole. Its networks are in its certificates already.
    Begun,
    /// It was whole at least once.
    Whole,
}

/// The cluster that is to be changed.
#[derive(Debug, Clone, Copy)]
pub struct Present<'a> {
    /// The spec last asked for, with its secrets.
    pub spec: &'a ClusterSpec,
    /// How much was ever there.
    pub built: Built,
    /// The spec that the cluster last reached, when that is another one: what a change that failed may
    /// be taken back to.
    pub verified: Option<&'a ClusterSpec>,
}

/// All changes, in the order of the spec. `wanted` has its secrets.
#[must_use]
pub fn changes(present: &Present<'_>, wanted: &ClusterSpec) -> Vec<Change> {
    let mut ledger = Ledger {
        from: present.spec.to_json(Secrets::Mask),
        to: wanted.to_json(Secrets::Mask),
        built: present.built,
        changes: Vec::new(),
    };
    parts::compare(&mut ledger, present, wanted);
    ledger.changes
}

/// The most expensive class; none without changes.
#[must_use]
pub fn worst(changes: &[Change]) -> Option<ChangeClass> {
    changes.iter().map(|change| change.class).max()
}

/// Where changes are noted; values are taken from the two documents, secrets masked.
struct Ledger {
    from: Value,
    to: Value,
    built: Built,
    changes: Vec<Change>,
}

impl Ledger {
    /// Notes a change of what is at the same place in both.
    fn note(&mut self, at: &str, class: ChangeClass, because: impl Into<String>) {
        self.put(Some(at), Some(at), class, because.into());
    }

    /// Notes what is only wanted.
    fn added(&mut self, at: &str, class: ChangeClass, because: impl Into<String>) {
        self.put(None, Some(at), class, because.into());
    }

    /// Notes what is not wanted any more.
    fn removed(&mut self, at: &str, class: ChangeClass, because: impl Into<String>) {
        self.put(Some(at), None, class, because.into());
    }

    /// Notes what moved from one place to another, and changed.
    fn moved(&mut self, (from, to): (&str, &str), class: ChangeClass, because: impl Into<String>) {
        self.put(Some(from), Some(to), class, because.into());
    }

    fn put(&mut self, from: Option<&str>, to: Option<&str>, class: ChangeClass, because: String) {
        let value = |document: &Value, at: Option<&str>| at.and_then(|at| document.pointer(at)).cloned();
        let pointer = to.or(from).unwrap_or_default();
        let (class, because) = match self.built {
            Built::Whole => (class, because),
            Built::Begun if pointer.starts_with("/network/") => (class, because),
            Built::Begun => (ChangeClass::Safe, NEVER_WHOLE.into()),
            Built::Nothing => (ChangeClass::Safe, "Nothing was built yet.".into()),
        };
        self.changes.push(Change {
            pointer: pointer.to_owned(),
            from: value(&self.from, from).unwrap_or_default(),
            to: value(&self.to, to).unwrap_or_default(),
            class,
            because,
        });
    }
}
