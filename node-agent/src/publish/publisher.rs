//! The publish thread and its sinks: started, swapped at run time, drained at the end.
//!
//! Every sink has its own queue and its own share of the memory bound, so that a sink that is away cannot take room from
//! one that answers. A share that became smaller is taken back as others need it: an edit in an outage costs no event.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout, timeout_at};
use weir_runtime::readiness::Readiness;

use super::agent_events::{AgentBuffer, AgentEvent, LossEncoder};
use super::delivery::SinkShared;
use super::file::FileOutput;
use super::metrics::{PublishMetrics, SinkLabels, SinkType};
use super::outcome::{Loss, LossReason, Outcomes};
use super::queue::Bounds;
use super::settings::{SinkSettings, Target};
use super::state::{SinkState, StateCell};
use super::stdout::StdoutOutput;
use super::{nats, writer};
use crate::batch::SealedBatch;
use crate::ledger::Out;

/// Memory of all batches that wait or are unanswered, all sinks together.
pub const DEFAULT_MEMORY_BYTES: usize = 32 * 1024 * 1024;
/// Batches of all sinks together: with the default memory, batches of 4 KiB on average reach both bounds at once.
const MAX_BATCHES: usize = 8192;
/// How long a removed sink may still take what was accepted for it.
pub const DEFAULT_RETIRE_GRACE: Duration = Duration::from_mins(1);
/// Part of the time for a drain that is kept for the agent's own events: the last cut tells what became of the batches, and
/// so it is made, and sent, after them. A quarter where that is less.
const AGENT_EVENTS_TIME: Duration = Duration::from_secs(1);
/// Sinks that wait to be started: an edit brings at most one per profile, and the publish thread takes them at once.
const START_QUEUE: usize = 64;

/// What a publisher works with.
pub struct PublisherParts {
    /// Memory bound of all batches; [`DEFAULT_MEMORY_BYTES`] unless there is a reason.
    pub memory_bytes: usize,
    /// How long a removed sink may still take what was pushed for it; [`DEFAULT_RETIRE_GRACE`] but in tests.
    pub retire_grace: Duration,
    /// Who is told what became of events.
    pub outcomes: Arc<dyn Outcomes>,
    /// Writes `agent.loss` events.
    pub encode_losses: LossEncoder,
    /// Where sinks show their states.
    pub readiness: Readiness,
    /// What is measured.
    pub metrics: PublishMetrics,
}

impl std::fmt::Debug for PublisherParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublisherParts")
            .field("memory_bytes", &self.memory_bytes)
            .finish_non_exhaustive()
    }
}

/// Why the publisher cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its runtime cannot be made.
    #[error("the publish runtime cannot be made; are file descriptors used up?")]
    Runtime(#[source] io::Error),
    /// Its thread cannot be started.
    #[error("the publish thread cannot be started; is the limit of tasks (pids) reached?")]
    Thread(#[source] io::Error),
}

/// Why sinks cannot be changed.
#[derive(Debug, thiserror::Error)]
#[error("the publish thread has ended")]
pub struct Ended;

/// What was left at the end of a drain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Events that no sink took in time; they are counted as shed.
    pub shed_events: u64,
    /// Agent events that could not be delivered.
    pub agent_events_left: usize,
}

#[derive(Default)]
struct Sinks {
    current: BTreeMap<Arc<str>, Arc<SinkShared>>,
    retiring: Vec<Arc<SinkShared>>,
    agents: BTreeMap<Arc<str>, Arc<AgentBuffer>>,
}

impl Sinks {
    fn all(&self) -> Vec<Arc<SinkShared>> {
        self.current
            .values()
            .chain(&self.retiring)
            .map(Arc::clone)
            .collect()
    }
}

struct Directory {
    parts: PublisherParts,
    sinks: Mutex<Sinks>,
}

impl Directory {
    fn sinks(&self) -> MutexGuard<'_, Sinks> {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share_memory(&self, sinks: &Sinks) {
        let all = sinks.all();
        let share = all.len().max(1);
        let bounds = Bounds {
            bytes: self.parts.memory_bytes / share,
            batches: MAX_BATCHES / share,
        };
        for sink in all {
            sink.queue.set_bounds(bounds);
        }
    }

    /// After a push to `sink`: what all hold together beyond the memory is taken from the others, of whom at least one has
    /// more than its share.
    fn take_back(&self, sinks: &[Arc<SinkShared>]) {
        let excess = |sinks: &[Arc<SinkShared>]| {
            let levels = sinks.iter().map(|sink| sink.queue.level().whole());
            let (bytes, batches) = levels.fold((0, 0), |(bytes, batches), level| {
                (bytes + level.bytes, batches + level.batches)
            });
            Bounds {
                bytes: usize::saturating_sub(bytes, self.parts.memory_bytes),
                batches: usize::saturating_sub(batches, MAX_BATCHES),
            }
        };
        for sink in sinks {
            let wanted = excess(sinks);
            if wanted.bytes == 0 && wanted.batches == 0 {
                return;
            }
            sink.trim(wanted);
        }
    }
}

/// What the drain thread holds; cheap to clone.
#[derive(Clone)]
pub struct PublishHandle {
    directory: Arc<Directory>,
}

impl std::fmt::Debug for PublishHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishHandle").finish_non_exhaustive()
    }
}

impl PublishHandle {
    /// Takes a batch, which is counted as queued; never waits. What has to be shed for it is counted here.
    pub fn push(&self, batch: SealedBatch) {
        let (sink, all) = {
            let sinks = self.directory.sinks();
            let sink = sinks.current.get(&batch.sink).map(Arc::clone);
            (sink, sinks.all())
        };
        if let Some(sink) = sink {
            sink.push(batch);
            if all.len() > 1 {
                self.directory.take_back(&all);
            }
            return;
        }
        let outcomes = &self.directory.parts.outcomes;
        outcomes.moved(&batch.counts, Out::Queued, Out::Shed);
        let SealedBatch {
            sink,
            profile,
            base,
            events,
            ..
        } = batch;
        outcomes.lost(Loss {
            sink,
            profile,
            reason: LossReason::SinkRemoved,
            base,
            events,
        });
    }

    /// The largest payload that the sink takes at the moment, a value that follows the server. `None` for no such sink.
    #[must_use]
    pub fn max_payload(&self, sink: &str) -> Option<Arc<AtomicUsize>> {
        self.directory
            .sinks()
            .current
            .get(sink)
            .map(|sink| Arc::clone(&sink.max_payload))
    }

    /// Adds an event of the agent's own to one sink's series. False if there is no such sink.
    #[must_use = "an event for a sink that is gone is not sent"]
    pub fn agent_event(&self, sink: &str, event: AgentEvent) -> bool {
        let buffer = self
            .directory
            .sinks()
            .current
            .get(sink)
            .map(|sink| Arc::clone(&sink.agent));
        buffer.map(|buffer| buffer.submit(event)).is_some()
    }

    /// The sinks' states.
    #[must_use]
    pub fn states(&self) -> Vec<(Arc<str>, SinkState)> {
        let sinks = self.directory.sinks();
        sinks
            .current
            .iter()
            .map(|(name, sink)| (Arc::clone(name), sink.state.get()))
            .collect()
    }
}

/// The publish thread.
#[derive(Debug)]
pub struct Publisher {
    handle: PublishHandle,
    starts: mpsc::Sender<Start>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
enum Start {
    Run(Arc<SinkShared>),
    Retire(Arc<SinkShared>),
}

impl Publisher {
    /// Starts the thread, without sinks.
    pub fn start(parts: PublisherParts) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Runtime)?;
        let directory = Arc::new(Directory {
            parts,
            sinks: Mutex::default(),
        });
        let (starts, started) = mpsc::channel(START_QUEUE);
        let thread_directory = Arc::clone(&directory);
        let thread = std::thread::Builder::new()
            .name("weir-publish".to_owned())
            .spawn(move || {
                LocalSet::new().block_on(&runtime, run(thread_directory, started));
                // A write to a reader that does not read would hold the thread for ever.
                runtime.shutdown_background();
            })
            .map_err(StartError::Thread)?;
        Ok(Self {
            handle: PublishHandle { directory },
            starts,
            thread,
        })
    }

    /// For the drain thread and whoever emits agent events.
    #[must_use]
    pub fn handle(&self) -> PublishHandle {
        self.handle.clone()
    }

    /// Makes these the sinks. Unchanged ones go on; changed and removed ones still take, for a grace period, what was
    /// pushed before, while new batches go to the new ones.
    pub async fn set_sinks(&self, settings: Vec<SinkSettings>) -> Result<(), Ended> {
        let mut work = Vec::new();
        {
            let directory = &self.handle.directory;
            let mut sinks = directory.sinks();
            let mut before = std::mem::take(&mut sinks.current);
            for settings in settings {
                let name = Arc::clone(&settings.name);
                let sink = match before.remove(&name) {
                    Some(known) if known.settings == settings => known,
                    known => {
                        if let Some(known) = known {
                            known.replace();
                            work.push(Start::Retire(known));
                        }
                        let fresh = Arc::new(directory.fresh(&mut sinks, settings));
                        work.push(Start::Run(Arc::clone(&fresh)));
                        fresh
                    }
                };
                sinks.current.insert(name, sink);
            }
            work.extend(before.into_values().map(Start::Retire));
            for start in &work {
                if let Start::Retire(sink) = start {
                    sinks.retiring.push(Arc::clone(sink));
                }
            }
            directory.share_memory(&sinks);
        }
        for start in work {
            self.starts.send(start).await.map_err(|_closed| Ended)?;
        }
        Ok(())
    }

    /// Waits until every pushed batch is acked or rejected, so long that before `deadline` there is still time for the
    /// agent's own events, which one sink that is away must not take from the others; what is left then is shed. Nothing
    /// may be pushed any more. Agent events still can be added and go on being sent.
    pub async fn drain(&self, deadline: Instant) -> DrainReport {
        let left = deadline.saturating_duration_since(Instant::now());
        self.drain_until(deadline - AGENT_EVENTS_TIME.min(left / 4)).await
    }

    async fn drain_until(&self, deadline: Instant) -> DrainReport {
        let mut report = DrainReport::default();
        for sink in self.handle.directory.all_sinks() {
            if timeout_at(deadline, sink.queue.idle()).await.is_err() {
                tracing::debug!(sink = %sink.settings.name, "out of time; shedding what is left");
            }
            report.shed_events += sink.shed_all(LossReason::Shutdown);
        }
        report
    }

    /// Drains, waits for the agent events too, at most until `deadline`, and ends the thread.
    pub async fn finish(self, deadline: Instant) -> DrainReport {
        let mut report = self.drain(deadline).await;
        for sink in self.handle.directory.all_sinks() {
            if timeout_at(deadline, sink.agent.idle()).await.is_err() {
                let left = sink.agent.waiting();
                tracing::warn!(sink = %sink.settings.name, left, "out of time; the last agent events were not sent");
                report.agent_events_left += left;
            }
            sink.stop.cancel();
        }
        drop(self.starts);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the publish thread panicked; this is a bug");
        }
        report
    }
}

impl Directory {
    fn all_sinks(&self) -> Vec<Arc<SinkShared>> {
        self.sinks().all()
    }

    fn fresh(&self, sinks: &mut Sinks, settings: SinkSettings) -> SinkShared {
        let parts = &self.parts;
        let agent = sinks
            .agents
            .entry(Arc::clone(&settings.name))
            .or_insert_with(|| Arc::new(AgentBuffer::new(Arc::clone(&parts.encode_losses))));
        let labels = SinkLabels {
            sink_type: SinkType::of(&settings.target),
        };
        let degraded = parts.metrics.degraded.get_or_create(&labels).clone();
        let state = StateCell::new(Arc::clone(&settings.name), parts.readiness.clone(), degraded);
        let bounds = Bounds {
            bytes: parts.memory_bytes,
            batches: MAX_BATCHES,
        };
        let (outcomes, metrics) = (Arc::clone(&parts.outcomes), parts.metrics.clone());
        SinkShared::new(settings, bounds, Arc::clone(agent), state, outcomes, metrics)
    }

    /// Lets a removed sink take what it still can, and sheds the rest.
    async fn retire(&self, sink: Arc<SinkShared>) {
        let grace = self.parts.retire_grace;
        if timeout(grace, sink.queue.idle()).await.is_err() {
            tracing::debug!(sink = %sink.settings.name, "out of time; shedding what is left");
        }
        let events = sink.shed_all(LossReason::SinkRemoved);
        if events > 0 {
            tracing::warn!(sink = %sink.settings.name, events, "a removed sink did not take everything in time");
        }
        let replaced = self.sinks().current.contains_key(&sink.settings.name);
        if !replaced && timeout(grace, sink.agent.idle()).await.is_err() {
            let left = sink.agent.waiting();
            tracing::warn!(sink = %sink.settings.name, left, "a removed sink did not take its last agent events in time");
        }
        sink.stop.cancel();
        sink.state.remove(replaced);
        let mut sinks = self.sinks();
        sinks.retiring.retain(|other| !Arc::ptr_eq(other, &sink));
        self.share_memory(&sinks);
    }
}

async fn run(directory: Arc<Directory>, mut starts: mpsc::Receiver<Start>) {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_local(directory.parts.readiness.beat("publish").follow());
    while let Some(start) = starts.recv().await {
        match start {
            Start::Run(sink) => {
                let (target, encoding) = (sink.settings.target.clone(), sink.settings.encoding);
                match target {
                    Target::Nats(settings) => tasks.spawn_local(nats::run(sink, settings)),
                    Target::Stdout => tasks.spawn_local(writer::run(sink, StdoutOutput)),
                    Target::File(path) => {
                        tasks.spawn_local(writer::run(sink, FileOutput::new(path, encoding)))
                    }
                };
            }
            Start::Retire(sink) => {
                let directory = Arc::clone(&directory);
                tasks.spawn_local(async move { directory.retire(sink).await });
            }
        }
        while tasks.try_join_next().is_some() {}
    }
    // The publisher is gone, and with it the wish to publish.
    for sink in directory.all_sinks() {
        sink.stop.cancel();
    }
    directory.end_retirements(&mut tasks).await;
}

impl Directory {
    /// Waits for the sinks' tasks; retirements that still wait for their sinks are cut short.
    async fn end_retirements(&self, tasks: &mut tokio::task::JoinSet<()>) {
        for sink in self.all_sinks() {
            sink.shed_all(LossReason::Shutdown);
        }
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
    }
}
