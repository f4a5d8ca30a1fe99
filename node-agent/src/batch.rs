//! The sealed batch: what the drain thread hands to the publish runtime, and nothing else crosses between them.

use std::sync::Arc;

use bytes::Bytes;

use crate::ledger::SlotCount;

/// One message, complete and immutable: a retry sends the same bytes under the same id.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// Name of the sink the batch goes to.
    pub sink: Arc<str>,
    /// NATS subject, `<prefix>.<profile>.<kind>`.
    pub subject: Arc<str>,
    /// `Nats-Msg-Id`: `cluster/node/epoch/profile/base`.
    pub message_id: String,
    /// Message headers besides `Nats-Msg-Id` (content type, `ce-*`).
    pub headers: Vec<(&'static str, String)>,
    /// The encoded batch.
    pub payload: Bytes,
    /// Name of the profile whose `seq` numbers these events.
    pub profile: Arc<str>,
    /// The profile's priority, 0..=1000; the lowest is shed first.
    pub priority: u16,
    /// First `seq` of the batch; it covers `[base, base + events)`.
    pub base: u64,
    /// Number of events.
    pub events: u32,
    /// The events by ledger row and cut; their `events` add up to [`Self::events`].
    pub counts: Vec<SlotCount>,
}
