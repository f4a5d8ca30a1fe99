//! The agent's side of the ledger: the one module that counts what becomes of an event after the ring.
//!
//! Every count lives under one lock, and moves happen per drain round and per batch, never per event, so
//! that a snapshot is exact and the lock is cold. Events are counted under the number of the cut that will
//! close over them; a cut therefore sums exactly the events that were admitted before it, while newer ones
//! flow on.

pub mod fold;
mod out;
mod report;
mod rows;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use out::{Out, OutCounts};
pub use report::{HookCounts, KernelCounts, Report, assemble};
pub use rows::{Row, RowInfo};

/// A row of the ledger: one (profile UID, event name, kind) for the life of this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u32);

/// Some events of one row, admitted under one cut: what moves from place to place together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCount {
    /// The row of the (profile, event) that the events belong to.
    pub row: RowId,
    /// Number of the cut that will close over these events.
    pub cut: u32,
    /// How many events.
    pub events: u32,
}

/// What became of the records of a row. `accepted` is the sum of [`OutCounts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Could not be decoded.
    pub malformed: u64,
    /// The profile does not take the workload.
    pub out_of_scope: u64,
    /// Refused by what only user space can decide.
    pub filtered: u64,
    /// Wait for metadata.
    pub held: u64,
    /// Became events.
    pub out: OutCounts,
}

impl Counts {
    /// Records that arrived.
    #[must_use]
    pub fn drained(&self) -> u64 {
        self.malformed + self.out_of_scope + self.filtered + self.held + self.out.sum()
    }

    fn add(&mut self, other: &Self) {
        self.malformed += other.malformed;
        self.out_of_scope += other.out_of_scope;
        self.filtered += other.filtered;
        self.held += other.held;
        self.out.add(&other.out);
    }
}

/// What a drain round did to a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drained {
    /// Could not be decoded.
    pub malformed: u64,
    /// The profile does not take the workload.
    pub out_of_scope: u64,
    /// Refused by what only user space can decide.
    pub filtered: u64,
    /// Began to wait for metadata.
    pub held: u64,
    /// Ended to wait for metadata; each also counts as what it became.
    pub released: u64,
    /// Became events; they are queued.
    pub accepted: u64,
}

/// The ledger of this epoch.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: Vec<Row>,
    /// The last closed cut.
    closed: u32,
    /// Events of closed cuts.
    old: Vec<Counts>,
    /// Events of the two cuts that may be open, by the cut's parity.
    young: [Vec<Counts>; 2],
}

impl Inner {
    fn counts(&mut self, row: RowId, cut: u32) -> Option<&mut Counts> {
        let matrix = if cut <= self.closed {
            &mut self.old
        } else {
            &mut self.young[(cut & 1) as usize]
        };
        matrix.get_mut(row.0 as usize)
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while counting ends the process; until then the counts are whole, each move is two adds.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a row.
    pub fn open(&self, info: RowInfo) -> RowId {
        let mut inner = self.lock();
        let id = RowId(u32::try_from(inner.rows.len()).unwrap_or(u32::MAX));
        inner.rows.push(Row::new(info));
        inner.old.push(Counts::default());
        for young in &mut inner.young {
            young.push(Counts::default());
        }
        id
    }

    /// The row goes on under another generation of its profile.
    pub fn advance(&self, row: RowId, generation: u64, digest: &str) {
        if let Some(row) = self.lock().rows.get_mut(row.0 as usize) {
            row.info.generation = generation;
            digest.clone_into(&mut row.info.digest);
        }
    }

    /// The row's slot was freed. The row stays, frozen.
    pub fn freeze(&self, row: RowId) {
        if let Some(row) = self.lock().rows.get_mut(row.0 as usize) {
            row.live = false;
        }
    }

    /// Takes what a drain round did.
    pub fn drained(&self, changes: impl IntoIterator<Item = (RowId, u32, Drained)>) {
        let mut inner = self.lock();
        for (row, cut, change) in changes {
            let Drained {
                malformed,
                out_of_scope,
                filtered,
                held,
                released,
                accepted,
            } = change;
            if let Some(counts) = inner.counts(row, cut) {
                counts.malformed += malformed;
                counts.out_of_scope += out_of_scope;
                counts.filtered += filtered;
                counts.held = (counts.held + held).saturating_sub(released);
                counts.out.queued += accepted;
            }
        }
    }

    /// Events moved from one place to another.
    pub fn moved(&self, counts: &[SlotCount], from: Out, to: Out) {
        let mut inner = self.lock();
        for SlotCount { row, cut, events } in counts {
            if let Some(counts) = inner.counts(*row, *cut) {
                let left = counts.out.place(from);
                *left = left.saturating_sub(u64::from(*events));
                *counts.out.place(to) += u64::from(*events);
            }
        }
    }

    /// Closes a cut: all its events arrived. Returns the rows as of this cut.
    pub fn close(&self, cut: u32) -> Vec<(Row, Counts)> {
        let mut inner = self.lock();
        let parity = (cut & 1) as usize;
        let young = std::mem::take(&mut inner.young[parity]);
        for (old, young) in inner.old.iter_mut().zip(&young) {
            old.add(young);
        }
        inner.young[parity] = vec![Counts::default(); young.len()];
        inner.closed = cut;
        inner
            .rows
            .iter()
            .cloned()
            .zip(inner.old.iter().copied())
            .collect()
    }

    /// All rows as of now: not at a cut, so that what is still in the rings is not among them.
    #[must_use]
    pub fn now(&self) -> Vec<(Row, Counts)> {
        let inner = self.lock();
        let total = |index: usize| {
            let mut counts = inner.old[index];
            for young in &inner.young {
                counts.add(&young[index]);
            }
            counts
        };
        inner
            .rows
            .iter()
            .enumerate()
            .map(|(index, row)| (row.clone(), total(index)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
