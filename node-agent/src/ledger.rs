//! The agent's side of the ledger: the one module that counts what becomes of an event after the ring.
//!
//! Every count lives under one lock, and moves happen per drain round and per batch, never per event, so
//! that a snapshot is exact and the lock is cold. Events are counted under the number of the cut that will
//! close over them; a cut therefore sums exactly the events that were admitted before it, while newer ones
//! flow on.

mod out;

pub use out::{Out, OutCounts};

/// A row of the ledger: one (profile UID, event name, kind) for the life of this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u32);
