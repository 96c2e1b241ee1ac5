//! The words of `design.md` as types.
//!
//! Everything here is a value or a pure function: no clock, no randomness, no I/O. A life-cycle is
//! one enum with one `transition` function; an illegal step is an error value. What a store, a wire
//! format or a REST document makes of these types is their business, not the domain's.

pub mod agent;
pub mod alarm;
pub mod api_key;
pub mod attempt;
pub mod audit;
pub mod cluster;
pub mod environment;
pub mod failure;
pub mod generation;
pub mod id;
pub mod inventory;
pub mod join_token;
pub mod key_algorithm;
pub mod name;
pub mod operation;
pub mod progress;
pub mod query;
pub mod removal;
pub mod revocation;
pub mod run;
pub mod secret;
pub mod task;
pub mod time;

/// A step that a life-cycle does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{machine} cannot go from {from} by {event}")]
pub struct IllegalTransition {
    /// Which life-cycle.
    pub machine: &'static str,
    /// The state it is in.
    pub from: String,
    /// What was asked of it.
    pub event: String,
}

impl IllegalTransition {
    pub(crate) fn new(machine: &'static str, from: impl std::fmt::Debug, event: impl std::fmt::Debug) -> Self {
        Self { machine, from: format!("{from:?}"), event: format!("{event:?}") }
    }
}

/// Gives a field-less enum its one spelling for JSON, SQL and text.
macro_rules! spelled {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// Every value, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The one spelling used in JSON, SQL and text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
                    let known = Self::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", ");
                    format!("{text:?} is not known; known are: {known}")
                })
            }
        }
    };
}
pub(crate) use spelled;
