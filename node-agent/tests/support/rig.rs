//! A publisher with one sink, and batches for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use weir_node_agent::batch::SealedBatch;
use weir_node_agent::ledger::{RowId, SlotCount};
use weir_node_agent::publish::metrics::PublishMetrics;
use weir_node_agent::publish::publisher::DEFAULT_MEMORY_BYTES;
use weir_node_agent::publish::settings::{Encoding, NatsSettings, ServerUrl, TlsSettings};
use weir_node_agent::publish::{
    AgentMessage, AgentSlot, DrainReport, LossRange, PublishHandle, Publisher, PublisherParts, SinkSettings,
    SinkState, Target, TroubleKind,
};
use weir_runtime::metrics::Metrics;
use weir_runtime::readiness::Readiness;

use crate::book::Book;
use crate::wait::until_value;

pub const SINK: &str = "default";
pub const STREAM: &str = "WEIR";
pub const PREFIX: &str = "weir.events";
/// Long enough for a sink that answers.
const RETIRE_GRACE: Duration = Duration::from_secs(1);
/// Events in each batch.
pub const EVENTS: u32 = 10;

pub struct Rig {
    pub publisher: Publisher,
    pub handle: PublishHandle,
    pub book: Arc<Book>,
    pub metrics: Metrics,
    pub readiness: Readiness,
    next: AtomicU64,
}

pub fn nats(url: &str) -> NatsSettings {
    NatsSettings {
        servers: vec![url.parse::<ServerUrl>().expect("is a URL")],
        tls: TlsSettings::default(),
        credentials_dir: None,
        credentials_required: false,
        stream: Some(STREAM.to_owned()),
        ensure: None,
        compress: false,
        client_name: "weir-agent test".to_owned(),
    }
}

pub fn sink(target: Target) -> SinkSettings {
    SinkSettings {
        name: SINK.into(),
        subject_prefix: PREFIX.into(),
        encoding: Encoding::Json,
        target,
    }
}

pub fn agent_message(kind: &str, slot: AgentSlot<'_>, text: &str) -> AgentMessage {
    AgentMessage {
        subject: format!("{}._agent.{kind}", slot.subject_prefix),
        message_id: format!("c/n/1/_agent.{}/{}", slot.sink, slot.seq),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// The announced ranges as text, `profile reason base+events`.
fn losses_as_text(ranges: &[LossRange], slot: AgentSlot<'_>) -> AgentMessage {
    let line = |range: &LossRange| {
        format!(
            "{} {} {}+{}",
            range.profile,
            range.reason.as_str(),
            range.base,
            range.events
        )
    };
    agent_message(
        "agent.loss",
        slot,
        &ranges.iter().map(line).collect::<Vec<_>>().join("\n"),
    )
}

impl Rig {
    pub async fn start(target: Target) -> Self {
        Self::with_memory(target, DEFAULT_MEMORY_BYTES).await
    }

    pub async fn with_memory(target: Target, memory_bytes: usize) -> Self {
        let (book, metrics, readiness) = (
            Arc::new(Book::default()),
            Metrics::new("agent", "0"),
            Readiness::new(),
        );
        let parts = PublisherParts {
            memory_bytes,
            retire_grace: RETIRE_GRACE,
            outcomes: book.clone(),
            encode_losses: Arc::new(losses_as_text),
            readiness: readiness.clone(),
            metrics: PublishMetrics::register(&metrics),
        };
        let publisher = Publisher::start(parts).expect("starts");
        publisher.set_sinks(vec![sink(target)]).await.expect("runs");
        Self {
            handle: publisher.handle(),
            publisher,
            book,
            metrics,
            readiness,
            next: AtomicU64::new(0),
        }
    }

    /// Pushes a batch of profile `p` and returns its id.
    pub fn push(&self, priority: u16, bytes: usize) -> String {
        self.push_to("p.process.exec", priority, bytes)
    }

    pub fn push_to(&self, tail: &str, priority: u16, bytes: usize) -> String {
        self.push_for(SINK, tail, priority, bytes)
    }

    pub fn push_for(&self, sink: &str, tail: &str, priority: u16, bytes: usize) -> String {
        let base = self.next.fetch_add(u64::from(EVENTS), Ordering::Relaxed);
        let profile = tail.split('.').next().expect("has a first token");
        let message_id = format!("c/n/1/{profile}/{base}");
        let mut payload = format!("[\"{message_id}\"]").into_bytes();
        payload.resize(payload.len().max(bytes), b' ');
        self.book.queued(EVENTS);
        self.handle.push(SealedBatch {
            sink: sink.into(),
            subject: format!("{PREFIX}.{tail}").into(),
            message_id: message_id.clone(),
            headers: vec![("content-type", "application/cloudevents-batch+json".to_owned())],
            payload: payload.into(),
            profile: profile.into(),
            priority,
            base,
            events: EVENTS,
            counts: vec![SlotCount {
                row: RowId(0),
                cut: 1,
                events: EVENTS,
            }],
        });
        message_id
    }

    pub fn push_many(&self, count: usize) -> BTreeSet<String> {
        (0..count).map(|_| self.push(100, 1000)).collect()
    }

    pub fn state(&self) -> SinkState {
        let states = self.handle.states();
        states
            .into_iter()
            .find(|(name, _)| &**name == SINK)
            .map_or(SinkState::Connecting, |(_, state)| state)
    }

    pub async fn until_acked(&self, batches: usize) {
        let events = u64::try_from(batches).expect("is small") * u64::from(EVENTS);
        let what = format!("{events} events acked");
        until_value(
            &what,
            || (self.book.counts(), self.state()),
            |(counts, _)| counts.acked == events,
        )
        .await;
    }

    pub async fn until_live(&self) {
        until_value(
            "the sink is live",
            || self.state(),
            |state| *state == SinkState::Live,
        )
        .await;
    }

    /// Waits for this trouble and returns message and remedy.
    pub async fn until_degraded(&self, kind: TroubleKind) -> String {
        let wanted =
            |state: &SinkState| matches!(state, SinkState::Degraded { trouble, .. } if trouble.kind == kind);
        match until_value(kind.as_str(), || self.state(), wanted).await {
            SinkState::Degraded { trouble, .. } => format!("{}; {}", trouble.message, trouble.remedy),
            other => panic!("{other:?} is not degraded"),
        }
    }

    pub async fn finish(self, within: Duration) -> DrainReport {
        self.publisher.finish(Instant::now() + within).await
    }
}
