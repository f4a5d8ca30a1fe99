//! A batch as `weir.v1.EventBatch`: common fields and workloads once, in front of the events.

use bytes::Bytes;

use super::table::WorkloadTable;
use super::{BatchHeader, Payloads};
use crate::encode::event::own_fields;
use crate::encode::{Buffer, Encoder as _, Proto, fields};
use crate::name;
use crate::view::EventView;
use crate::workload::WorkloadRef;

/// More than base, count and their tags take.
const SEQUENCE_BYTES: usize = 24;

/// Bytes guessed for an event's length: 128 to 16383 bytes long.
const EVENT_LENGTH_BYTES: usize = 2;

/// Fields of `EventBatch`.
mod batch {
    super::fields! {
        CLUSTER = 1, "cluster";
        NODE = 2, "node";
        EPOCH = 3, "epoch";
        PROFILE = 4, "profile";
        BASE = 5, "base";
        COUNT = 6, "count";
        KIND = 7, "kind";
        CLASS = 8, "class";
        SEVERITY = 9, "severity";
        EVENT = 10, "event";
        GENERATION = 11, "generation";
        WORKLOADS = 12, "workloads";
        EVENTS = 15, "events";
    }
}

/// Fields of `UnifiedEvent` that a batch may hold for it.
mod event {
    super::fields! {
        TIME = 2, "time";
        KIND = 4, "kind";
        CLASS = 5, "class";
        SEVERITY = 6, "severity";
        EVENT = 10, "event";
        GENERATION = 11, "generation";
        WORKLOAD_INDEX = 15, "workloadIndex";
    }
}

#[derive(Debug)]
pub(super) struct ProtobufBatch {
    events: Proto,
    workloads: Proto,
    table: WorkloadTable,
    /// The header's fields that never change.
    header: Proto,
    /// The first event's name and generation, which events like it leave out.
    common_event: String,
    common_generation: u64,
}

/// Where a batch stood before an event was pushed.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    events: usize,
    workloads: usize,
    last_workload: u32,
}

impl ProtobufBatch {
    pub(super) fn new(header: &BatchHeader) -> Self {
        Self {
            events: Proto::default(),
            workloads: Proto::default(),
            table: WorkloadTable::default(),
            header: header_fields(header),
            common_event: String::new(),
            common_generation: 0,
        }
    }

    pub(super) fn len_bytes(&self) -> usize {
        self.header.buffer.len()
            + SEQUENCE_BYTES
            + self.common_event.len()
            + SEQUENCE_BYTES
            + self.workloads.buffer.len()
            + self.events.buffer.len()
    }

    pub(super) fn push(&mut self, header: &BatchHeader, view: &EventView<'_>) {
        if self.events.buffer.len() == 0 {
            self.common_event.clear();
            self.common_event.push_str(view.event);
            self.common_generation = view.generation;
        }
        let workload_index = view.workload.map_or(0, |workload| self.workload_index(workload));
        let (common_event, common_generation) = (self.common_event.as_str(), self.common_generation);
        self.events
            .message_guessed(batch::EVENTS, EVENT_LENGTH_BYTES, |proto| {
                proto.timestamp(event::TIME, view.time_unix_nanos);
                if view.kind != header.kind {
                    proto.text(event::KIND, view.kind.name().as_bytes());
                    proto.enumeration(event::CLASS, view.kind.class().wire());
                    proto.enumeration(event::SEVERITY, view.kind.severity().wire());
                }
                if view.event != common_event {
                    proto.present_text(event::EVENT, view.event.as_bytes());
                }
                if view.generation != common_generation {
                    proto.present_u64(event::GENERATION, view.generation);
                }
                proto.u32(event::WORKLOAD_INDEX, workload_index);
                own_fields(proto, view);
            });
    }

    fn workload_index(&mut self, workload: &WorkloadRef) -> u32 {
        let (place, new) = self.table.place(workload.identity());
        if new {
            self.workloads.encoded(batch::WORKLOADS, workload.protobuf());
        }
        place
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            events: self.events.buffer.len(),
            workloads: self.workloads.buffer.len(),
            last_workload: self.table.len(),
        }
    }

    /// Takes the last event out again.
    pub(super) fn undo(&mut self, mark: Mark, workload: Option<&WorkloadRef>) {
        self.events.buffer.truncate(mark.events);
        self.workloads.buffer.truncate(mark.workloads);
        if let Some(workload) = workload
            && self.table.len() > mark.last_workload
        {
            self.table.forget_last(workload.identity());
        }
    }

    pub(super) fn seal(&mut self, base: u64, events: u32, payloads: &mut Payloads) -> Bytes {
        let mut head = Proto::default();
        head.u64(batch::BASE, base);
        head.u32(batch::COUNT, events);
        if events > 0 {
            head.present_text(batch::EVENT, self.common_event.as_bytes());
            head.present_u64(batch::GENERATION, self.common_generation);
        }
        let parts = [
            &self.header.buffer,
            &head.buffer,
            &self.workloads.buffer,
            &self.events.buffer,
        ];
        let payload = payloads.copy(&parts.map(Buffer::as_slice));
        self.events.buffer.clear();
        self.workloads.buffer.clear();
        self.table.clear();
        payload
    }
}

/// A batch of one event that is not a profile's, with what `own` writes of it.
pub(crate) fn batch_of_one(
    header: &BatchHeader,
    base: u64,
    time: u64,
    own: impl FnOnce(&mut Proto),
) -> Bytes {
    let mut proto = header_fields(header);
    proto.u64(batch::BASE, base);
    proto.u32(batch::COUNT, 1);
    proto.message_guessed(batch::EVENTS, EVENT_LENGTH_BYTES, |proto| {
        proto.timestamp(event::TIME, time);
        own(proto);
    });
    Bytes::copy_from_slice(proto.buffer.as_slice())
}

/// The NATS headers of a protobuf message: `CloudEvents` in binary mode, one event whose data is the batch.
pub(crate) fn headers(header: &BatchHeader, base: u64) -> Vec<(&'static str, String)> {
    let mut id = name::event_id_prefix(header.epoch, &header.profile);
    id.push_str(itoa::Buffer::new().format(base));
    vec![
        ("content-type", "application/protobuf".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", id),
        ("ce-source", name::source(&header.cluster, &header.node)),
        ("ce-type", header.kind.cloud_event_type().to_owned()),
        ("ce-dataschema", "urn:weir:proto:weir.v1.EventBatch".to_owned()),
    ]
}

fn header_fields(header: &BatchHeader) -> Proto {
    let BatchHeader {
        cluster,
        node,
        epoch,
        profile,
        kind,
    } = header;
    let mut proto = Proto::default();
    proto.text(batch::CLUSTER, cluster.as_bytes());
    proto.text(batch::NODE, node.as_bytes());
    proto.u64(batch::EPOCH, *epoch);
    proto.text(batch::PROFILE, profile.as_bytes());
    proto.text(batch::KIND, kind.name().as_bytes());
    proto.enumeration(batch::CLASS, kind.class().wire());
    proto.enumeration(batch::SEVERITY, kind.severity().wire());
    proto
}
