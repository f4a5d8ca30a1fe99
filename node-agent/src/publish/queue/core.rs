//! What a full queue gives up and what it hands out next: the pure part of the hand-over.
//!
//! Held plus taken never grow beyond the bounds. When a push would exceed them, whole held batches go, in the order
//! lowest priority, then never sent before sent once (a sent one may be in the stream already), then oldest; the pushed
//! batch is one of the candidates. Bounds that are lowered below what is there already cost nothing by themselves: what is
//! pushed from then on makes room for itself only, and [`QueueCore::trim`] takes back what another needs. Batches are handed
//! out oldest first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use crate::batch::SealedBatch;

/// What a batch costs beside its payload: ids, headers, counts and the bookkeeping here, rounded up.
pub const BATCH_OVERHEAD_BYTES: usize = 512;

/// What one queue may hold, held and taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Payload bytes, plus [`BATCH_OVERHEAD_BYTES`] for each batch.
    pub bytes: usize,
    /// Batches.
    pub batches: usize,
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    /// Bytes held.
    pub held_bytes: usize,
    /// Batches held.
    pub held_batches: usize,
    /// Bytes taken and not yet settled.
    pub taken_bytes: usize,
    /// Batches taken and not yet settled.
    pub taken_batches: usize,
}

impl Level {
    fn bytes(self) -> usize {
        self.held_bytes + self.taken_bytes
    }

    fn batches(self) -> usize {
        self.held_batches + self.taken_batches
    }

    fn fits(self, bounds: Bounds) -> bool {
        self.bytes() <= bounds.bytes && self.batches() <= bounds.batches
    }

    /// The least bounds that are no less than these, and that this level keeps.
    fn widened(self, bounds: Bounds) -> Bounds {
        Bounds {
            bytes: bounds.bytes.max(self.bytes()),
            batches: bounds.batches.max(self.batches()),
        }
    }

    /// Held and taken together.
    #[must_use]
    pub fn whole(self) -> Bounds {
        Bounds {
            bytes: self.bytes(),
            batches: self.batches(),
        }
    }
}

/// A batch that is being sent.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Its number in this queue.
    pub ticket: u64,
    /// How often it was taken before.
    pub attempt: u32,
    /// What it weighs against the bounds.
    pub bytes: usize,
    /// The batch.
    pub batch: Arc<SealedBatch>,
}

#[derive(Debug)]
struct Entry {
    attempts: u32,
    not_before: Option<Instant>,
    bytes: usize,
    batch: Arc<SealedBatch>,
}

/// Priority, sent before, ticket: the first in this order is shed first.
type ShedKey = (u16, bool, u64);

impl Entry {
    fn key(&self, ticket: u64) -> ShedKey {
        (self.batch.priority, self.attempts > 0, ticket)
    }
}

/// The queue without its lock.
#[derive(Debug)]
pub struct QueueCore {
    bounds: Bounds,
    held: BTreeMap<u64, Entry>,
    /// Held batches that may be sent.
    ready: BTreeSet<u64>,
    shed_order: BTreeSet<ShedKey>,
    /// Held batches that wait for their retry.
    delayed: BTreeSet<(Instant, u64)>,
    taken: BTreeMap<u64, Entry>,
    level: Level,
    next_ticket: u64,
    closed: bool,
}

impl QueueCore {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            held: BTreeMap::new(),
            ready: BTreeSet::new(),
            shed_order: BTreeSet::new(),
            delayed: BTreeSet::new(),
            taken: BTreeMap::new(),
            level: Level::default(),
            next_ticket: 0,
            closed: false,
        }
    }

    /// See [`super::BatchQueue::push`].
    pub fn push(&mut self, batch: Arc<SealedBatch>) -> Vec<Arc<SealedBatch>> {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let bytes = batch.payload.len() + BATCH_OVERHEAD_BYTES;
        let entry = Entry {
            attempts: 0,
            not_before: None,
            bytes,
            batch,
        };
        if self.closed {
            return vec![entry.batch];
        }
        let Some(victims) = self.room_for(&entry, ticket) else {
            return vec![entry.batch];
        };
        let shed = victims
            .into_iter()
            .filter_map(|victim| self.remove_held(victim))
            .map(|e| e.batch)
            .collect();
        self.hold(ticket, entry);
        shed
    }

    /// Which held batches have to go so that `entry` fits; `None` if it is itself the first to go.
    fn room_for(&self, entry: &Entry, ticket: u64) -> Option<Vec<u64>> {
        let bounds = self.level.widened(self.bounds);
        let mut level = self.level;
        level.held_bytes += entry.bytes;
        level.held_batches += 1;
        let mut victims = Vec::new();
        let mut candidates = self.shed_order.iter();
        while !level.fits(bounds) {
            let key = candidates.next().filter(|key| **key < entry.key(ticket))?;
            let victim = self.held.get(&key.2)?;
            level.held_bytes -= victim.bytes;
            level.held_batches -= 1;
            victims.push(key.2);
        }
        Some(victims)
    }

    fn hold(&mut self, ticket: u64, entry: Entry) {
        self.level.held_bytes += entry.bytes;
        self.level.held_batches += 1;
        self.shed_order.insert(entry.key(ticket));
        match entry.not_before {
            Some(time) => self.delayed.insert((time, ticket)),
            None => self.ready.insert(ticket),
        };
        self.held.insert(ticket, entry);
    }

    fn remove_held(&mut self, ticket: u64) -> Option<Entry> {
        let entry = self.held.remove(&ticket)?;
        self.shed_order.remove(&entry.key(ticket));
        match entry.not_before {
            Some(time) => self.delayed.remove(&(time, ticket)),
            None => self.ready.remove(&ticket),
        };
        self.level.held_bytes -= entry.bytes;
        self.level.held_batches -= 1;
        Some(entry)
    }

    fn remove_taken(&mut self, ticket: u64) -> Option<Entry> {
        let entry = self.taken.remove(&ticket)?;
        self.level.taken_bytes -= entry.bytes;
        self.level.taken_batches -= 1;
        Some(entry)
    }

    /// See [`super::BatchQueue::take`].
    pub fn take(&mut self, now: Instant) -> Option<Taken> {
        self.ripen(now);
        let ticket = self.ready.first().copied()?;
        let mut entry = self.remove_held(ticket)?;
        let taken = Taken {
            ticket,
            attempt: entry.attempts,
            bytes: entry.bytes,
            batch: Arc::clone(&entry.batch),
        };
        entry.attempts = entry.attempts.saturating_add(1);
        self.level.taken_bytes += entry.bytes;
        self.level.taken_batches += 1;
        self.taken.insert(ticket, entry);
        Some(taken)
    }

    /// Batches whose delay is over may be sent: each is moved once, so that a retry of many costs no search.
    fn ripen(&mut self, now: Instant) {
        while let Some((time, ticket)) = self.delayed.first().copied().filter(|(time, _)| *time <= now) {
            self.delayed.remove(&(time, ticket));
            self.ready.insert(ticket);
            if let Some(entry) = self.held.get_mut(&ticket) {
                entry.not_before = None;
            }
        }
    }

    /// See [`super::BatchQueue::next_retry`].
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.delayed.first().map(|(time, _)| *time)
    }

    /// See [`super::BatchQueue::settle`].
    pub fn settle(&mut self, ticket: u64) -> Option<Arc<SealedBatch>> {
        self.remove_taken(ticket).map(|entry| entry.batch)
    }

    /// See [`super::BatchQueue::give_back`].
    pub fn give_back(&mut self, ticket: u64, not_before: Option<Instant>) -> bool {
        let Some(mut entry) = self.remove_taken(ticket) else {
            return false;
        };
        entry.not_before = not_before;
        self.hold(ticket, entry);
        true
    }

    /// See [`super::BatchQueue::replace`]. The weight stays what it was, so that the bounds never move by it.
    pub fn replace(&mut self, ticket: u64, batch: Arc<SealedBatch>) {
        if let Some(entry) = self.taken.get_mut(&ticket) {
            entry.batch = batch;
        }
    }

    /// See [`super::BatchQueue::taken`].
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        let taken = |(ticket, entry): (&u64, &Entry)| Taken {
            ticket: *ticket,
            attempt: entry.attempts.saturating_sub(1),
            bytes: entry.bytes,
            batch: Arc::clone(&entry.batch),
        };
        self.taken.iter().map(taken).collect()
    }

    /// See [`super::BatchQueue::set_bounds`].
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// See [`super::BatchQueue::trim`].
    pub fn trim(&mut self, wanted: Bounds) -> Vec<Arc<SealedBatch>> {
        let enough = Bounds {
            bytes: self.level.bytes().saturating_sub(wanted.bytes),
            batches: self.level.batches().saturating_sub(wanted.batches),
        };
        let mut shed = Vec::new();
        while !self.level.fits(enough)
            && !self.level.fits(self.bounds)
            && let Some(key) = self.shed_order.first().copied()
            && let Some(entry) = self.remove_held(key.2)
        {
            shed.push(entry.batch);
        }
        shed
    }

    /// See [`super::BatchQueue::close`].
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// See [`super::BatchQueue::clear`].
    pub fn clear(&mut self) -> (Vec<Arc<SealedBatch>>, Vec<Arc<SealedBatch>>) {
        self.shed_order.clear();
        self.delayed.clear();
        self.ready.clear();
        self.level = Level::default();
        let batches = |entries: &mut BTreeMap<u64, Entry>| {
            std::mem::take(entries)
                .into_values()
                .map(|entry| entry.batch)
                .collect()
        };
        (batches(&mut self.held), batches(&mut self.taken))
    }

    /// Nothing held, nothing taken.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && self.taken.is_empty()
    }

    /// See [`super::BatchQueue::level`].
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
