//! How far a run is, as a user sees it.

use serde::{Deserialize, Serialize};

/// One step of a known number of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done, in a word or two.
    pub phase: String,
    /// Which step this is, from 1.
    pub step: u32,
    /// How many there are.
    pub steps: u32,
}
