//! What publishing tells the ledger: moves of counted events, and losses by `seq` range.

use std::sync::Arc;

use crate::ledger::{Ledger, Out, SlotCount};

/// Takes the moves and losses. Called from the drain thread and from the publish thread; calls for one batch come in the
/// order of its life. Some come under a queue's lock, so an implementation must not call back into publishing.
pub trait Outcomes: Send + Sync {
    /// The events moved from one place to another.
    fn moved(&self, counts: &[SlotCount], from: Out, to: Out);
    /// A range of a profile's `seq` will never be delivered. The announcement in the stream is made here, in
    /// publishing; this call is for whoever else wants to know.
    fn lost(&self, loss: Loss);
}

impl Outcomes for Ledger {
    fn moved(&self, counts: &[SlotCount], from: Out, to: Out) {
        Self::moved(self, counts, from, to);
    }

    fn lost(&self, loss: Loss) {
        let Loss {
            sink,
            profile,
            reason,
            base,
            events,
        } = loss;
        tracing::debug!(%sink, %profile, reason = reason.as_str(), base, events, "events lost");
    }
}

/// A batch that will not be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The sink that does not get it.
    pub sink: Arc<str>,
    /// The profile whose `seq` it is.
    pub profile: Arc<str>,
    /// Why.
    pub reason: LossReason,
    /// First lost `seq`.
    pub base: u64,
    /// How many, from `base` on.
    pub events: u32,
}

/// Why a batch is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossReason {
    /// Shed: the sink's memory bound was reached.
    QueueFull,
    /// Shed: the agent ended before the sink took it.
    Shutdown,
    /// Shed: the sink was removed or replaced, and the old one did not take it in time.
    SinkRemoved,
    /// Rejected: larger than the server or the stream allows.
    TooLarge,
    /// Rejected: the stream does not take the subject.
    SubjectRefused,
    /// Rejected: the stream is sealed.
    StreamSealed,
    /// Rejected: the server refused the message for another lasting reason.
    Refused,
}

impl LossReason {
    /// The reason as it stands in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Shutdown => "shutdown",
            Self::SinkRemoved => "sink_removed",
            Self::TooLarge => "too_large",
            Self::SubjectRefused => "subject_refused",
            Self::StreamSealed => "stream_sealed",
            Self::Refused => "refused",
        }
    }

    /// The reason as `agent.loss` has it.
    #[must_use]
    pub fn announced(self) -> weir_events::agent::LossReason {
        use weir_events::agent::LossReason as Announced;
        match self {
            Self::QueueFull => Announced::QueueFull,
            Self::Shutdown => Announced::Shutdown,
            Self::SinkRemoved => Announced::SinkChanged,
            Self::TooLarge | Self::SubjectRefused | Self::StreamSealed | Self::Refused => Announced::Rejected,
        }
    }

    /// The ledger's place for it.
    #[must_use]
    pub fn place(self) -> Out {
        match self {
            Self::QueueFull | Self::Shutdown | Self::SinkRemoved => Out::Shed,
            Self::TooLarge | Self::SubjectRefused | Self::StreamSealed | Self::Refused => Out::Rejected,
        }
    }
}
