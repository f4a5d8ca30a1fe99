//! Open batches, one per (profile, kind, sink), and the sequence numbers they get when they are sealed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir_events::{BatchBuilder, BatchHeader, EventView, Kind, Payloads, Push, message_id, subject};

use super::table::{Bound, BoundTable, SinkFacts, Slot, Table};
use super::tally::Tally;
use crate::batch::SealedBatch;
use crate::ledger::{RowId, SlotCount};
use crate::publish::PublishHandle;

/// Who the events come from.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub node: String,
    /// This life of the agent.
    pub epoch: u64,
}

struct OpenBatch {
    builder: BatchBuilder,
    profile: Arc<str>,
    kind: Kind,
    sink: Arc<SinkFacts>,
    subject: Arc<str>,
    priority: u16,
    counts: Vec<SlotCount>,
    /// Boot time of its first event.
    since_ns: u64,
    /// What the server takes; follows the connection.
    max_payload: Option<Arc<AtomicUsize>>,
}

impl OpenBatch {
    fn limit_bytes(&self) -> usize {
        let server = self
            .max_payload
            .as_ref()
            .map_or(usize::MAX, |max| max.load(Ordering::Relaxed));
        self.sink.max_bytes.min(server)
    }

    fn due_ns(&self) -> Option<u64> {
        (!self.builder.is_empty()).then(|| self.since_ns.saturating_add(self.sink.linger_ns))
    }
}

/// All open batches.
pub(super) struct Batches {
    identity: Identity,
    publish: PublishHandle,
    open: Vec<OpenBatch>,
    next_seq: HashMap<Arc<str>, u64>,
    payloads: Payloads,
}

impl Batches {
    pub(super) fn new(identity: Identity, publish: PublishHandle) -> Self {
        Self {
            identity,
            publish,
            open: Vec::new(),
            next_seq: HashMap::new(),
            payloads: Payloads::default(),
        }
    }

    /// Finds or opens the batches of a configuration's slots.
    pub(super) fn resolve(&mut self, table: Table) -> BoundTable {
        let Table { id, side, slots } = table;
        let bound: Vec<Bound> = slots
            .into_iter()
            .map(|slot| Bound {
                batch: self.find_or_open(&slot),
                slot,
            })
            .collect();
        BoundTable::new(id, side, bound)
    }

    fn find_or_open(&mut self, slot: &Slot) -> usize {
        // A sink that was replaced under its name has a new limit.
        let max_payload = self.publish.max_payload(&slot.sink.name);
        let known = self.open.iter().position(|open| {
            open.profile == slot.profile && open.kind == slot.kind && open.sink == slot.sink
        });
        if let Some(index) = known {
            self.open[index].priority = slot.priority;
            self.open[index].max_payload = max_payload;
            return index;
        }
        let header = BatchHeader {
            cluster: self.identity.cluster.clone(),
            node: self.identity.node.clone(),
            epoch: self.identity.epoch,
            profile: slot.profile.to_string(),
            kind: slot.kind,
        };
        let open = OpenBatch {
            builder: BatchBuilder::new(slot.sink.encoding, header),
            profile: Arc::clone(&slot.profile),
            kind: slot.kind,
            sink: Arc::clone(&slot.sink),
            subject: subject(&slot.sink.subject_prefix, &slot.profile, slot.kind).into(),
            priority: slot.priority,
            counts: Vec::new(),
            since_ns: 0,
            max_payload,
        };
        self.open.push(open);
        self.open.len() - 1
    }

    /// Adds an event, sealing what is full. Counts it as accepted, or as filtered when it alone is longer than any
    /// message may be.
    pub(super) fn add(
        &mut self,
        batch: usize,
        row: RowId,
        cut: u32,
        boot_ns: u64,
        view: &EventView<'_>,
        tally: &mut Tally,
    ) {
        let Some(open) = self.open.get_mut(batch) else {
            return;
        };
        let limit = open.limit_bytes();
        let mut pushed = open.builder.push_within(view, limit);
        if pushed == Push::Full {
            self.seal(batch, tally);
            pushed = self.open[batch].builder.push_within(view, limit);
        }
        let open = &mut self.open[batch];
        if pushed != Push::Added {
            tally.of(row, cut).filtered += 1;
            return;
        }
        tally.of(row, cut).accepted += 1;
        if open.builder.events() == 1 {
            open.since_ns = boot_ns;
        }
        match open
            .counts
            .iter_mut()
            .find(|count| count.row == row && count.cut == cut)
        {
            Some(count) => count.events += 1,
            None => open.counts.push(SlotCount { row, cut, events: 1 }),
        }
        if open.builder.events() >= open.sink.max_events {
            self.seal(batch, tally);
        }
    }

    /// Seals a batch and hands it to publishing.
    fn seal(&mut self, batch: usize, tally: &mut Tally) {
        let Some(open) = self.open.get_mut(batch) else {
            return;
        };
        if open.builder.is_empty() {
            return;
        }
        // Publishing moves these events at once: they must be counted first.
        tally.flush();
        let next = self.next_seq.entry(Arc::clone(&open.profile)).or_insert(1);
        let base = *next;
        let sealed = open.builder.seal(base, &mut self.payloads);
        *next += u64::from(sealed.events);
        let Identity { cluster, node, epoch } = &self.identity;
        self.publish.push(SealedBatch {
            sink: Arc::clone(&open.sink.name),
            subject: Arc::clone(&open.subject),
            message_id: message_id(cluster, node, *epoch, &open.profile, base),
            headers: sealed.headers,
            payload: sealed.payload,
            profile: Arc::clone(&open.profile),
            priority: open.priority,
            base,
            events: sealed.events,
            counts: std::mem::take(&mut open.counts),
        });
    }

    /// Seals what has waited its linger, a nap early: the next look comes that late. When the flow is slow nothing
    /// waits.
    pub(super) fn seal_due(&mut self, now_ns: u64, nap: Duration, idle: bool, tally: &mut Tally) {
        let nap_ns = u64::try_from(nap.as_nanos()).unwrap_or(0);
        for batch in 0..self.open.len() {
            if self.open[batch]
                .due_ns()
                .is_some_and(|due| idle || now_ns.saturating_add(nap_ns) >= due)
            {
                self.seal(batch, tally);
            }
        }
    }

    /// Seals everything.
    pub(super) fn seal_all(&mut self, tally: &mut Tally) {
        for batch in 0..self.open.len() {
            self.seal(batch, tally);
        }
    }

    /// When the next batch must be sealed.
    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.open.iter().filter_map(OpenBatch::due_ns).min()
    }

    /// The shortest linger of all batches.
    pub(super) fn least_linger_ns(&self) -> Option<u64> {
        self.open.iter().map(|open| open.sink.linger_ns).min()
    }

    /// The next `seq` of each profile.
    pub(super) fn sequences(&self) -> BTreeMap<String, u64> {
        self.next_seq
            .iter()
            .map(|(profile, next)| (profile.to_string(), *next))
            .collect()
    }

    /// Seals batches that no configuration names any more, and closes those at the end, so that edits do not pile
    /// batches up.
    pub(super) fn sweep(&mut self, used: &std::collections::HashSet<usize>, tally: &mut Tally) {
        for batch in 0..self.open.len() {
            if !used.contains(&batch) {
                self.seal(batch, tally);
            }
        }
        while self
            .open
            .len()
            .checked_sub(1)
            .is_some_and(|last| !used.contains(&last))
        {
            self.open.pop();
        }
    }
}
