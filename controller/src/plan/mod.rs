//! Pure decisions: what follows from a report, who may have which task, why something waits, what a
//! change costs.
//!
//! No clock, no store, no network: values in, a value out that names every step. The store applies
//! what is decided here inside the transaction that read the values.

pub mod assignment;
pub mod attention;
pub mod ca_rotation;
pub mod cancel;
pub mod chain;
pub mod change;
pub mod diff;
pub mod evidence;
pub mod histories;
pub mod policy;
pub mod reconcile;
pub mod residue;
pub mod retry;
pub mod scopes;
pub mod settle;
pub mod standing;
