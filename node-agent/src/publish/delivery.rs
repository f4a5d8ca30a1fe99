//! One sink's shared part, and the one place that says what became of a batch.
//!
//! Every way a batch can go passes through here, so that ledger, loss announcement and metrics cannot disagree.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::agent_events::{AgentBuffer, SealedAgentMessage};
use super::metrics::{Outcome, OutcomeLabels, PublishMetrics, Retry, RetryLabels, SinkLabels, SinkType};
use super::outcome::{Loss, LossReason, Outcomes};
use super::queue::{BatchQueue, Bounds, Level, Taken};
use super::settings::SinkSettings;
use super::state::StateCell;
use crate::batch::SealedBatch;
use crate::ledger::Out;

/// NATS' default `max_payload`, assumed until a server has said its own.
const DEFAULT_MAX_PAYLOAD: usize = 1024 * 1024;
/// Room for what stands beside the payload: headers and what compression may add.
const PAYLOAD_RESERVE: usize = 4 * 1024;

/// A sink as the drain thread, the publish runtime and the publisher see it.
pub(crate) struct SinkShared {
    pub(crate) settings: SinkSettings,
    pub(crate) queue: BatchQueue,
    pub(crate) agent: Arc<AgentBuffer>,
    pub(crate) state: StateCell,
    pub(crate) stop: CancellationToken,
    pub(crate) max_payload: Arc<AtomicUsize>,
    outcomes: Arc<dyn Outcomes>,
    metrics: PublishMetrics,
    shown: Mutex<Level>,
    /// Why nothing is taken any more, once nothing is.
    closed: OnceLock<LossReason>,
    /// Another sink has its name, and with it the agent's own events.
    replaced: AtomicBool,
}

impl std::fmt::Debug for SinkShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkShared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl SinkShared {
    pub(crate) fn new(
        settings: SinkSettings,
        bounds: Bounds,
        agent: Arc<AgentBuffer>,
        state: StateCell,
        outcomes: Arc<dyn Outcomes>,
        metrics: PublishMetrics,
    ) -> Self {
        Self {
            settings,
            queue: BatchQueue::new(bounds),
            agent,
            state,
            stop: CancellationToken::new(),
            max_payload: Arc::new(AtomicUsize::new(DEFAULT_MAX_PAYLOAD - PAYLOAD_RESERVE)),
            outcomes,
            metrics,
            shown: Mutex::default(),
            closed: OnceLock::new(),
            replaced: AtomicBool::new(false),
        }
    }

    fn sink_type(&self) -> SinkType {
        SinkType::of(&self.settings.target)
    }

    fn labels(&self) -> SinkLabels {
        SinkLabels {
            sink_type: self.sink_type(),
        }
    }

    /// A server said how large a message may be.
    pub(crate) fn set_server_max_payload(&self, bytes: usize) {
        self.max_payload
            .store(bytes.saturating_sub(PAYLOAD_RESERVE), Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.metrics.connections.get_or_create(&self.labels()).inc();
    }

    /// From the drain thread: holds the batch, and sheds what had to go for it.
    pub(crate) fn push(&self, batch: SealedBatch) {
        for shed in self.queue.push(batch) {
            let reason = self.closed.get().copied().unwrap_or(LossReason::QueueFull);
            self.lose(&shed, Out::Queued, reason);
        }
        self.show_level();
    }

    /// From now on the agent's own events are its successor's.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// The agent event to send now.
    pub(crate) fn next_agent_event(&self) -> Option<SealedAgentMessage> {
        if self.replaced.load(Ordering::Relaxed) {
            return None;
        }
        self.agent.next(&self.settings)
    }

    /// Returns when there may be another agent event to send.
    pub(crate) async fn agent_changed(&self) {
        if !self.replaced.load(Ordering::Relaxed) {
            self.agent.changed().await;
            if !self.replaced.load(Ordering::Relaxed) {
                return;
            }
            self.agent.pass_on();
        }
        std::future::pending::<()>().await;
    }

    /// The next batch to send.
    pub(crate) fn take(&self, now: Instant) -> Option<Taken> {
        let taken = self.queue.take(now, |batch| {
            self.outcomes.moved(&batch.counts, Out::Queued, Out::Unacked);
        })?;
        self.show_level();
        Some(taken)
    }

    /// The sink has it.
    pub(crate) fn acked(&self, ticket: u64, duplicate: bool, sent: Instant) {
        let Some(batch) = self.queue.settle(ticket) else {
            return;
        };
        self.outcomes.moved(&batch.counts, Out::Unacked, Out::Acked);
        self.count(
            &batch,
            if duplicate {
                Outcome::duplicate
            } else {
                Outcome::acked
            },
        );
        let labels = self.labels();
        let bytes = u64::try_from(batch.payload.len()).unwrap_or(u64::MAX);
        self.metrics.bytes.get_or_create(&labels).inc_by(bytes);
        self.metrics
            .ack_duration
            .get_or_create(&labels)
            .observe(sent.elapsed().as_secs_f64());
        self.show_level();
    }

    /// The sink will never take it.
    pub(crate) fn rejected(&self, ticket: u64, reason: LossReason) {
        let Some(batch) = self.queue.settle(ticket) else {
            return;
        };
        tracing::warn!(
            sink = %self.settings.name, subject = %batch.subject, reason = reason.as_str(), events = batch.events,
            "the sink refuses a batch for good"
        );
        self.lose(&batch, Out::Unacked, reason);
        self.show_level();
    }

    /// It goes back, to be sent again not before `not_before`.
    pub(crate) fn retry(&self, taken: &Taken, not_before: Option<Instant>, reason: Retry) {
        let count = || {
            self.outcomes
                .moved(&taken.batch.counts, Out::Unacked, Out::Queued);
        };
        if self.queue.give_back(taken.ticket, not_before, count) {
            let labels = RetryLabels {
                sink_type: self.sink_type(),
                reason,
            };
            self.metrics.retries.get_or_create(&labels).inc();
        }
        self.show_level();
    }

    /// Gives up whatever is left, and all that will still be pushed.
    pub(crate) fn shed_all(&self, reason: LossReason) -> u64 {
        let reason = *self.closed.get_or_init(|| reason);
        self.queue.close();
        let (held, taken) = self.queue.clear();
        let mut events = 0;
        for (batches, from) in [(held, Out::Queued), (taken, Out::Unacked)] {
            for batch in batches {
                events += u64::from(batch.events);
                self.lose(&batch, from, reason);
            }
        }
        self.show_level();
        events
    }

    /// Gives up so much of what exceeds its bounds, for another sink.
    pub(crate) fn trim(&self, wanted: Bounds) {
        for shed in self.queue.trim(wanted) {
            self.lose(&shed, Out::Queued, LossReason::QueueFull);
        }
        self.show_level();
    }

    fn lose(&self, batch: &SealedBatch, from: Out, reason: LossReason) {
        self.outcomes.moved(&batch.counts, from, reason.place());
        let loss = Loss {
            sink: Arc::clone(&self.settings.name),
            profile: Arc::clone(&batch.profile),
            reason,
            base: batch.base,
            events: batch.events,
        };
        self.agent.lost(&loss);
        self.outcomes.lost(loss);
        self.count(
            batch,
            if reason.place() == Out::Shed {
                Outcome::shed
            } else {
                Outcome::rejected
            },
        );
    }

    fn count(&self, batch: &SealedBatch, outcome: Outcome) {
        let labels = OutcomeLabels {
            sink_type: self.sink_type(),
            outcome,
        };
        self.metrics.batches.get_or_create(&labels).inc();
        self.metrics
            .events
            .get_or_create(&labels)
            .inc_by(u64::from(batch.events));
    }

    /// Adds what changed since the last time, because sinks of one type share their gauges.
    fn show_level(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, labels) = (self.queue.level(), self.labels());
        let change = |new: usize, old: usize| {
            i64::try_from(new).unwrap_or(i64::MAX) - i64::try_from(old).unwrap_or(i64::MAX)
        };
        let bytes = |level: Level| level.held_bytes + level.taken_bytes;
        let metrics = &self.metrics;
        metrics
            .in_flight
            .get_or_create(&labels)
            .inc_by(change(level.taken_batches, shown.taken_batches));
        metrics
            .queue_batches
            .get_or_create(&labels)
            .inc_by(change(level.held_batches, shown.held_batches));
        metrics
            .queue_bytes
            .get_or_create(&labels)
            .inc_by(change(bytes(level), bytes(*shown)));
        *shown = level;
    }
}
