//! What the records of a configuration mean: its slots by kind and bit.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use weir_events::{Encoding, Kind};

use crate::ledger::RowId;

/// A slot as the control side names it.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The kernel's kind number.
    pub kind_number: u8,
    /// The slot's bit among the kind's.
    pub bit: u8,
    /// The kind.
    pub kind: Kind,
    /// Its ledger row.
    pub row: RowId,
    /// Bit of the profile in scope masks.
    pub profile_index: u32,
    /// The profile's name.
    pub profile: Arc<str>,
    /// The event's name in it.
    pub event: Arc<str>,
    /// The profile's generation.
    pub generation: u64,
    /// How many occurrences one event stands for.
    pub weight: u32,
    /// The profile's priority.
    pub priority: u16,
    /// Where the events go.
    pub sink: Arc<SinkFacts>,
}

/// What batching must know of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkFacts {
    /// Its name.
    pub name: Arc<str>,
    /// First tokens of the subject.
    pub subject_prefix: Arc<str>,
    /// How events are written.
    pub encoding: Encoding,
    /// Events a batch holds at most.
    pub max_events: u32,
    /// Bytes a batch holds at most.
    pub max_bytes: usize,
    /// How long an event waits for company at most, ns.
    pub linger_ns: u64,
}

/// A configuration.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its id, as records carry it.
    pub id: u32,
    /// Its side of the configuration maps.
    pub side: u32,
    /// Its slots.
    pub slots: Vec<Slot>,
}

/// A slot and the batch its events go into.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) slot: Slot,
    pub(super) batch: usize,
}

/// A configuration, ready for lookups by bit.
#[derive(Debug)]
pub(super) struct BoundTable {
    pub(super) id: u32,
    pub(super) side: u32,
    /// By kind number, then bit.
    kinds: Vec<Vec<Option<Bound>>>,
}

impl BoundTable {
    pub(super) fn new(id: u32, side: u32, slots: impl IntoIterator<Item = Bound>) -> Self {
        let mut kinds: Vec<Vec<Option<Bound>>> = Vec::new();
        for bound in slots {
            let (kind, bit) = (usize::from(bound.slot.kind_number), usize::from(bound.slot.bit));
            if kinds.len() <= kind {
                kinds.resize_with(kind + 1, Vec::new);
            }
            if kinds[kind].len() <= bit {
                kinds[kind].resize_with(bit + 1, || None);
            }
            kinds[kind][bit] = Some(bound);
        }
        Self { id, side, kinds }
    }

    pub(super) fn slot(&self, kind_number: u8, bit: u32) -> Option<&Bound> {
        self.kinds
            .get(usize::from(kind_number))?
            .get(bit as usize)?
            .as_ref()
    }

    pub(super) fn batches(&self) -> impl Iterator<Item = usize> + '_ {
        self.kinds.iter().flatten().flatten().map(|bound| bound.batch)
    }
}

/// The configurations whose records may still come.
#[derive(Debug, Default)]
pub(super) struct Tables {
    by_id: BTreeMap<u32, BoundTable>,
}

impl Tables {
    pub(super) fn insert(&mut self, table: BoundTable) {
        self.by_id.insert(table.id, table);
    }

    pub(super) fn get(&self, id: u32) -> Option<&BoundTable> {
        self.by_id.get(&id)
    }

    /// The batches that any of them fills.
    pub(super) fn used_batches(&self) -> HashSet<usize> {
        self.by_id.values().flat_map(BoundTable::batches).collect()
    }

    /// Forgets configurations before `id`.
    pub(super) fn retire(&mut self, id: u32) {
        self.by_id = self.by_id.split_off(&id);
    }
}
