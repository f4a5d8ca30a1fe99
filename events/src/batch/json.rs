//! A batch as a `CloudEvents` 1.0 JSON array, each event whole.
//!
//! Sequence numbers are known only at sealing: each is given a place as wide as the largest number, with its closing
//! quote written behind the digits and blanks, which JSON allows between tokens, to the place's end.

use bytes::Bytes;

use super::{BatchHeader, Payloads};
use crate::encode::event::own_fields;
use crate::encode::{Encoder as _, Json, fields};
use crate::kind::Kind;
use crate::name;
use crate::view::EventView;

/// The digits of `u64::MAX` and a closing quote.
const PLACE: [u8; 21] = [b' '; 21];

/// Fields of `UnifiedEvent`, those aside that are written in pieces.
mod event {
    super::fields! {
        TIME = 2, "time";
        KIND = 4, "kind";
        CLASS = 5, "class";
        SEVERITY = 6, "severity";
        CLUSTER = 7, "cluster";
        NODE = 8, "node";
        PROFILE = 9, "profile";
        EVENT = 10, "event";
        GENERATION = 11, "generation";
        WORKLOAD = 14, "workload";
    }
}

/// Keys of `EventId` and of a `CloudEvent`, which exist in JSON only.
mod key {
    super::fields! {
        SPECVERSION = 0, "specversion";
        SOURCE = 0, "source";
        TYPE = 0, "type";
        DATACONTENTTYPE = 0, "datacontenttype";
        NODE = 1, "node";
        EPOCH = 2, "epoch";
        PROFILE = 3, "profile";
    }
}

/// The parts of an event that are the same in the whole batch, as JSON.
#[derive(Debug)]
struct Parts {
    /// From the opening brace to the digits of `id`.
    to_id: Vec<u8>,
    /// From the comma after `time` to the digits of `seq`.
    to_seq: Vec<u8>,
    /// Behind the event's time: kind, class, severity, cluster, node, profile.
    common: Vec<u8>,
}

impl Parts {
    fn new(header: &BatchHeader, kind: Kind) -> Self {
        let BatchHeader {
            cluster,
            node,
            epoch,
            profile,
            kind: _,
        } = header;
        let mut json = Json::default();
        json.buffer.put_byte(b'{');
        json.text(key::SPECVERSION, b"1.0");
        json.text(key::SOURCE, name::source(cluster, node).as_bytes());
        json.text(key::TYPE, kind.cloud_event_type().as_bytes());
        json.text(key::DATACONTENTTYPE, b"application/json");
        json.buffer.put_slice(b"\"id\":\"");
        json.buffer
            .put_slice(name::event_id_prefix(*epoch, profile).as_bytes());
        let to_id = json.buffer.as_slice().to_vec();

        json.buffer.clear();
        json.buffer.put_slice(b",\"data\":{\"id\":{");
        json.text(key::NODE, node.as_bytes());
        json.u64(key::EPOCH, *epoch);
        json.text(key::PROFILE, profile.as_bytes());
        json.buffer.put_slice(b"\"seq\":\"");
        let to_seq = json.buffer.as_slice().to_vec();

        json.buffer.clear();
        json.text(event::KIND, kind.name().as_bytes());
        json.enumeration(event::CLASS, kind.class().wire());
        json.enumeration(event::SEVERITY, kind.severity().wire());
        json.text(event::CLUSTER, cluster.as_bytes());
        json.text(event::NODE, node.as_bytes());
        json.text(event::PROFILE, profile.as_bytes());
        Self {
            to_id,
            to_seq,
            common: json.buffer.as_slice().to_vec(),
        }
    }
}

#[derive(Debug)]
pub(super) struct JsonBatch {
    json: Json,
    parts: Parts,
    /// Where each event's two places are.
    places: Vec<[usize; 2]>,
}

/// Where a batch stood before an event was pushed.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    places: usize,
}

impl JsonBatch {
    pub(super) fn new(header: &BatchHeader) -> Self {
        Self {
            json: Json::default(),
            parts: Parts::new(header, header.kind),
            places: Vec::new(),
        }
    }

    pub(super) fn len_bytes(&self) -> usize {
        // The opening bracket is in place of the first event's comma, the closing one is still missing.
        (self.json.buffer.len() + 1).max(2)
    }

    pub(super) fn push(&mut self, header: &BatchHeader, view: &EventView<'_>) {
        let Self { json, parts, places } = self;
        let first = places.is_empty();
        let own = |json: &mut Json| {
            json.present_text(event::EVENT, view.event.as_bytes());
            json.present_u64(event::GENERATION, view.generation);
            if let Some(workload) = view.workload {
                json.encoded(event::WORKLOAD, workload.json());
            }
            own_fields(json, view);
        };
        let place = if view.kind == header.kind {
            write_event(json, first, parts, view.time_unix_nanos, own)
        } else {
            // Never on the hot path: a batch is of one kind.
            write_event(
                json,
                first,
                &Parts::new(header, view.kind),
                view.time_unix_nanos,
                own,
            )
        };
        places.push(place);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            bytes: self.json.buffer.len(),
            places: self.places.len(),
        }
    }

    /// Takes the last event out again.
    pub(super) fn undo(&mut self, mark: Mark) {
        self.json.buffer.truncate(mark.bytes);
        self.places.truncate(mark.places);
    }

    pub(super) fn seal(&mut self, base: u64, payloads: &mut Payloads) -> Bytes {
        let mut seq = base;
        for places in &self.places {
            for at in places {
                fill_place(&mut self.json, *at, seq);
            }
            seq = seq.wrapping_add(1);
        }
        if self.places.is_empty() {
            self.json.buffer.put_byte(b'[');
        }
        self.json.buffer.put_byte(b']');
        let payload = payloads.copy(&[self.json.buffer.as_slice()]);
        self.json.buffer.clear();
        self.places.clear();
        payload
    }
}

/// An event that is not a profile's, alone in its batch, with what `own` writes of it.
pub(crate) fn batch_of_one(header: &BatchHeader, seq: u64, time: u64, own: impl FnOnce(&mut Json)) -> Bytes {
    let mut json = Json::default();
    let parts = Parts::new(header, header.kind);
    for at in write_event(&mut json, true, &parts, time, own) {
        fill_place(&mut json, at, seq);
    }
    json.buffer.put_byte(b']');
    Bytes::copy_from_slice(json.buffer.as_slice())
}

/// The NATS headers of a JSON message.
pub(crate) fn headers() -> Vec<(&'static str, String)> {
    vec![("content-type", "application/cloudevents-batch+json".to_owned())]
}

/// Writes one `CloudEvent`, led by the bracket or comma before it; returns where its two numbers' places are.
fn write_event(
    json: &mut Json,
    first: bool,
    parts: &Parts,
    time: u64,
    own: impl FnOnce(&mut Json),
) -> [usize; 2] {
    json.buffer.put_byte(if first { b'[' } else { b',' });
    json.buffer.put_slice(&parts.to_id);
    let id = open_place(json);
    json.buffer.put_slice(b",\"time\":");
    json.quoted_time(time);
    json.buffer.put_slice(&parts.to_seq);
    let seq = open_place(json);
    json.buffer.put_slice(b"},");
    json.timestamp(event::TIME, time);
    json.buffer.put_slice(&parts.common);
    own(json);
    json.close(b'}');
    json.buffer.put_byte(b'}');
    [id, seq]
}

fn open_place(json: &mut Json) -> usize {
    let at = json.buffer.len();
    json.buffer.put_fixed(PLACE, PLACE.len());
    at
}

fn fill_place(json: &mut Json, at: usize, seq: u64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(seq).as_bytes();
    json.buffer.overwrite(at, digits);
    json.buffer.overwrite(at + digits.len(), b"\"");
}
