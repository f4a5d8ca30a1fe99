//! The agent's own events of one sink: reserved, coalescing, in order, never shed.
//!
//! What waits here is bounded by how many different things there are to say, not by how long the sink is away: a newer
//! event replaces an unsent one of the same key, and losses are kept as ranges. One message is out at a time; it is
//! sealed with the next `seq` and repeated, same bytes and id, until it is acknowledged. This module does not encode.

mod loss_set;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

pub use self::loss_set::LossRange;
use self::loss_set::LossSet;
use super::outcome::Loss;
use super::settings::{Encoding, SinkSettings};

/// Ranges in one `agent.loss` message: at most about 24 KiB of JSON.
const RANGES_PER_MESSAGE: usize = 256;
/// Unsent events of different keys: four kinds for each of the 64 profiles a node runs, and as many that it ran before.
const MAX_UNSENT_EVENTS: usize = 512;

/// What an encoder is told about the message to be.
#[derive(Debug, Clone, Copy)]
pub struct AgentSlot<'a> {
    /// The sink's name; part of the message id.
    pub sink: &'a str,
    /// First tokens of the subject.
    pub subject_prefix: &'a str,
    /// How the sink wants it.
    pub encoding: Encoding,
    /// The message's `seq` in this sink's series of agent events.
    pub seq: u64,
}

/// An encoded agent event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMessage {
    /// NATS subject, `<prefix>._agent.<kind>`.
    pub subject: String,
    /// `Nats-Msg-Id`.
    pub message_id: String,
    /// Other headers.
    pub headers: Vec<(&'static str, String)>,
    /// The bytes.
    pub payload: Bytes,
}

/// Writes one agent event once its `seq` is known.
pub type Encoder = Box<dyn Fn(AgentSlot<'_>) -> AgentMessage + Send + Sync>;
/// Writes an `agent.loss` event; all its ranges are of one profile, and there is at least one.
pub type LossEncoder = Arc<dyn Fn(&[LossRange], AgentSlot<'_>) -> AgentMessage + Send + Sync>;

/// An agent event that waits for its `seq`.
pub struct AgentEvent {
    /// An unsent event with the same key is replaced, because the new one says all that it said.
    pub key: String,
    /// Writes it.
    pub encode: Encoder,
}

impl fmt::Debug for AgentEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentEvent")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// A sealed message on its way.
#[derive(Debug, Clone)]
pub(crate) struct SealedAgentMessage {
    pub(crate) seq: u64,
    pub(crate) message: Arc<AgentMessage>,
}

/// What a sealed message says.
#[derive(Debug)]
enum Content {
    Losses(Vec<LossRange>),
    Event(AgentEvent),
}

impl Content {
    fn encode(&self, slot: AgentSlot<'_>, losses: &LossEncoder) -> AgentMessage {
        match self {
            Self::Losses(ranges) => losses(ranges, slot),
            Self::Event(event) => (event.encode)(slot),
        }
    }
}

#[derive(Debug)]
struct Sealed {
    message: SealedAgentMessage,
    content: Content,
    /// The sink's when it was sealed.
    subject_prefix: Arc<str>,
}

#[derive(Debug, Default)]
struct Inner {
    losses: LossSet,
    events: VecDeque<AgentEvent>,
    sealed: Option<Sealed>,
    next_seq: u64,
}

impl Inner {
    fn waiting(&self) -> usize {
        self.losses.len() + self.events.len() + usize::from(self.sealed.is_some())
    }
}

/// One sink's buffer. It outlives edits of the sink, because its `seq` goes on for the whole epoch.
pub(crate) struct AgentBuffer {
    inner: Mutex<Inner>,
    encode_losses: LossEncoder,
    added: Notify,
    settled: Notify,
}

impl fmt::Debug for AgentBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentBuffer")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl AgentBuffer {
    pub(crate) fn new(encode_losses: LossEncoder) -> Self {
        Self {
            inner: Mutex::default(),
            encode_losses,
            added: Notify::new(),
            settled: Notify::new(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event, in the place of an unsent one with the same key.
    pub(crate) fn submit(&self, event: AgentEvent) {
        let mut inner = self.inner();
        if let Some(known) = inner.events.iter_mut().find(|known| known.key == event.key) {
            *known = event;
        } else {
            if inner.events.len() >= MAX_UNSENT_EVENTS
                && let Some(dropped) = inner.events.pop_front()
            {
                tracing::error!(
                    key = dropped.key,
                    "more than {MAX_UNSENT_EVENTS} unsent agent events; this is a bug"
                );
            }
            inner.events.push_back(event);
        }
        drop(inner);
        self.added.notify_one();
    }

    /// Adds a loss to be announced.
    pub(crate) fn lost(&self, loss: &Loss) {
        self.inner().losses.add(loss);
        self.added.notify_one();
    }

    /// The message to send now: the unacknowledged one, or the next, sealed here. An unacknowledged one whose subject is
    /// no longer the sink's is written anew under its `seq`: the old subject may be what the sink was mended for, and
    /// everything behind it waits.
    pub(crate) fn next(&self, settings: &SinkSettings) -> Option<SealedAgentMessage> {
        let mut inner = self.inner();
        let (seq, content) = match inner.sealed.take() {
            Some(sealed) if sealed.subject_prefix == settings.subject_prefix => {
                let message = sealed.message.clone();
                inner.sealed = Some(sealed);
                return Some(message);
            }
            Some(Sealed { message, content, .. }) => (message.seq, content),
            None => {
                let content = if inner.losses.len() > 0 {
                    Content::Losses(inner.losses.take(RANGES_PER_MESSAGE))
                } else {
                    Content::Event(inner.events.pop_front()?)
                };
                inner.next_seq += 1;
                (inner.next_seq - 1, content)
            }
        };
        let slot = AgentSlot {
            sink: &settings.name,
            subject_prefix: &settings.subject_prefix,
            encoding: settings.encoding,
            seq,
        };
        let message = SealedAgentMessage {
            seq,
            message: Arc::new(content.encode(slot, &self.encode_losses)),
        };
        inner.sealed = Some(Sealed {
            message: message.clone(),
            content,
            subject_prefix: Arc::clone(&settings.subject_prefix),
        });
        Some(message)
    }

    /// The message with this `seq` is done with.
    pub(crate) fn settle(&self, seq: u64) {
        let mut inner = self.inner();
        if inner
            .sealed
            .as_ref()
            .is_some_and(|sealed| sealed.message.seq == seq)
        {
            inner.sealed = None;
        }
        drop(inner);
        self.settled.notify_waiters();
    }

    /// How much waits, the unacknowledged message included.
    pub(crate) fn waiting(&self) -> usize {
        self.inner().waiting()
    }

    /// Returns when something was added. One waits at a time: whoever cannot use it must [`Self::pass_on`].
    pub(crate) async fn changed(&self) {
        self.added.notified().await;
    }

    /// Wakes another one that waits for [`Self::changed`].
    pub(crate) fn pass_on(&self) {
        self.added.notify_one();
    }

    /// Returns when nothing waits.
    pub(crate) async fn idle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.waiting() == 0 {
                return;
            }
            settled.await;
        }
    }
}

#[cfg(test)]
#[path = "agent_events/tests.rs"]
mod tests;
