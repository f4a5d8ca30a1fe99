//! Open batches: events are encoded into them as they come, and sequence numbers are given when they are sealed.
//!
//! One batch is one NATS message, of one (profile, kind). [`BatchBuilder::push`] allocates nothing once its buffers
//! have grown to the size of a usual batch. Compression, if any, is the publisher's.

pub(crate) mod json;
mod payload;
pub(crate) mod protobuf;
mod table;

use bytes::Bytes;

use crate::kind::Kind;
use crate::view::EventView;
use json::JsonBatch;
pub use payload::Payloads;
use protobuf::ProtobufBatch;

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A `CloudEvents` 1.0 JSON batch; `data` is a `UnifiedEvent` in canonical protobuf JSON.
    Json,
    /// A `weir.v1.EventBatch`.
    Protobuf,
}

/// What all events of a batch share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The agent's life.
    pub epoch: u64,
    /// The profile's name.
    pub profile: String,
    /// The kind of every event.
    pub kind: Kind,
}

/// A finished message: its bytes never change again.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The message's body.
    pub payload: Bytes,
    /// The NATS headers that say what the body is.
    pub headers: Vec<(&'static str, String)>,
    /// How many events it holds: the sequence numbers `base .. base + events`.
    pub events: u32,
}

/// What became of an event offered to [`BatchBuilder::push_within`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// It is in the batch.
    Added,
    /// It is not: seal the batch and offer it again.
    Full,
    /// It is not, and never can be: it alone is longer than the limit.
    TooLong,
}

/// A batch that events are added to.
#[derive(Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    body: Body,
    events: u32,
}

#[derive(Debug)]
enum Body {
    Json(Box<JsonBatch>),
    Protobuf(Box<ProtobufBatch>),
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(encoding: Encoding, header: BatchHeader) -> Self {
        let body = match encoding {
            Encoding::Json => Body::Json(Box::new(JsonBatch::new(&header))),
            Encoding::Protobuf => Body::Protobuf(Box::new(ProtobufBatch::new(&header))),
        };
        Self {
            header,
            body,
            events: 0,
        }
    }

    /// What its events share.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// How many events are in it.
    #[must_use]
    pub const fn events(&self) -> u32 {
        self.events
    }

    /// Whether no event is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// How long the payload would be if it were sealed now, in bytes; at most a few dozen too many.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        match &self.body {
            Body::Json(batch) => batch.len_bytes(),
            Body::Protobuf(batch) => batch.len_bytes(),
        }
    }

    /// Adds an event.
    pub fn push(&mut self, event: &EventView<'_>) {
        match &mut self.body {
            Body::Json(batch) => batch.push(&self.header, event),
            Body::Protobuf(batch) => batch.push(&self.header, event),
        }
        self.events += 1;
    }

    /// Adds an event, unless the payload would then be longer than `limit_bytes`.
    pub fn push_within(&mut self, event: &EventView<'_>, limit_bytes: usize) -> Push {
        let outcome = match &mut self.body {
            Body::Json(batch) => {
                let mark = batch.mark();
                batch.push(&self.header, event);
                (batch.len_bytes() > limit_bytes).then(|| batch.undo(mark))
            }
            Body::Protobuf(batch) => {
                let mark = batch.mark();
                batch.push(&self.header, event);
                (batch.len_bytes() > limit_bytes).then(|| batch.undo(mark, event.workload))
            }
        };
        match outcome {
            None => {
                self.events += 1;
                Push::Added
            }
            Some(()) if self.events == 0 => Push::TooLong,
            Some(()) => Push::Full,
        }
    }

    /// Gives the events the sequence numbers from `base` on, hands the message out, written into memory of earlier
    /// `payloads` where it is free, and starts an empty batch.
    pub fn seal(&mut self, base: u64, payloads: &mut Payloads) -> Sealed {
        let events = std::mem::take(&mut self.events);
        let (payload, headers) = match &mut self.body {
            Body::Json(batch) => (batch.seal(base, payloads), json::headers()),
            Body::Protobuf(batch) => (
                batch.seal(base, events, payloads),
                protobuf::headers(&self.header, base),
            ),
        };
        Sealed {
            payload,
            headers,
            events,
        }
    }
}
