//! The bounded hand-over of sealed batches from the drain thread to one sink.
//!
//! A thin shell of a lock and two notifications around [`core::QueueCore`], which decides. Pushing never waits.

pub mod core;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

pub use self::core::{Bounds, Level, QueueCore, Taken};
use crate::batch::SealedBatch;

/// One sink's queue.
#[derive(Debug)]
pub struct BatchQueue {
    core: Mutex<QueueCore>,
    pushed: Notify,
    settled: Notify,
}

impl BatchQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            core: Mutex::new(QueueCore::new(bounds)),
            pushed: Notify::new(),
            settled: Notify::new(),
        }
    }

    fn core(&self) -> MutexGuard<'_, QueueCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch and returns what had to go for it, itself included, without ever waiting.
    #[must_use = "what is returned is lost unless it is counted"]
    pub fn push(&self, batch: SealedBatch) -> Vec<Arc<SealedBatch>> {
        let shed = self.core().push(Arc::new(batch));
        self.pushed.notify_one();
        shed
    }

    /// The next batch that may be sent now; it counts against the bounds until it is settled. `count` runs while
    /// nobody else can touch the batch.
    pub fn take(&self, now: Instant, count: impl FnOnce(&SealedBatch)) -> Option<Taken> {
        let mut core = self.core();
        let taken = core.take(now)?;
        count(&taken.batch);
        Some(taken)
    }

    /// When the next batch that waits for its retry may be taken.
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.core().next_retry()
    }

    /// A taken batch is done with. `None` if it was shed meanwhile.
    pub fn settle(&self, ticket: u64) -> Option<Arc<SealedBatch>> {
        let batch = self.core().settle(ticket);
        self.settled.notify_waiters();
        batch
    }

    /// A taken batch goes back, to be taken again not before `not_before`. False if it was shed meanwhile; otherwise
    /// `count` runs while nobody else can touch the batch.
    pub fn give_back(&self, ticket: u64, not_before: Option<Instant>, count: impl FnOnce()) -> bool {
        let mut core = self.core();
        let held = core.give_back(ticket, not_before);
        if held {
            count();
        }
        drop(core);
        self.pushed.notify_one();
        held
    }

    /// Replaces the bytes of a taken batch, so that a retry sends what was sent before.
    pub fn replace(&self, ticket: u64, batch: Arc<SealedBatch>) {
        self.core().replace(ticket, batch);
    }

    /// Batches that are taken now, by ticket.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        self.core().taken()
    }

    /// Changes the bounds. What is there already stays, also where it no longer fits.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.core().set_bounds(bounds);
    }

    /// Gives up so much of what exceeds the bounds, or all of it, and returns it.
    #[must_use = "what is returned is lost unless it is counted"]
    pub fn trim(&self, wanted: Bounds) -> Vec<Arc<SealedBatch>> {
        self.core().trim(wanted)
    }

    /// From now on every push is returned.
    pub fn close(&self) {
        self.core().close();
    }

    /// Empties the queue: (still held, taken and unanswered).
    #[must_use = "what is returned is lost unless it is counted"]
    pub fn clear(&self) -> (Vec<Arc<SealedBatch>>, Vec<Arc<SealedBatch>>) {
        let all = self.core().clear();
        self.settled.notify_waiters();
        all
    }

    /// How full it is.
    #[must_use]
    pub fn level(&self) -> Level {
        self.core().level()
    }

    /// Returns when something may have become ready to be taken.
    pub async fn changed(&self) {
        self.pushed.notified().await;
    }

    /// Returns when nothing is held and nothing is taken.
    pub async fn idle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.core().is_idle() {
                return;
            }
            settled.await;
        }
    }
}
