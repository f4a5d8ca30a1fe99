//! Open batches, one per (profile, kind, sink), and the sequence numbers they get when they are sealed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use weir_events::{BatchBuilder, BatchHeader, EventView, Kind, Payloads, Push, message_id, subject};

use super::home::{Homes, Moved};
use super::table::{Bound, BoundTable, SinkFacts, Slot, Table};
use super::tally::Tally;
use crate::batch::SealedBatch;
use crate::ledger::{RowId, SlotCount};
use crate::publish::PublishHandle;

/// Sequences begin with it.
const FIRST_SEQ: u64 = 1;

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
    /// The profile's events go to another sink now: what still comes for this batch goes there too.
    is_left: bool,
    /// Whether a configuration names it. The place of one that none names is taken by the next that is opened: tables know
    /// batches by their place.
    is_used: bool,
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
    homes: Homes,
    payloads: Payloads,
}

impl Batches {
    pub(super) fn new(identity: Identity, publish: PublishHandle) -> Self {
        Self {
            identity,
            publish,
            open: Vec::new(),
            next_seq: HashMap::new(),
            homes: Homes::default(),
            payloads: Payloads::default(),
        }
    }

    /// Finds or opens the batches of a configuration's slots.
    pub(super) fn resolve(&mut self, table: Table) -> BoundTable {
        let Table { id, side, slots } = table;
        let bind = |slot: Slot| {
            self.homes.assign(&slot.profile, &slot.sink);
            let batch = self.find_or_open(&slot.profile, slot.kind, &slot.sink, slot.priority);
            Bound { slot, batch }
        };
        let bound: Vec<Bound> = slots.into_iter().map(bind).collect();
        BoundTable::new(id, side, bound)
    }

    fn find(&self, profile: &Arc<str>, kind: Kind, sink: &Arc<SinkFacts>) -> Option<usize> {
        self.open
            .iter()
            .position(|open| open.profile == *profile && open.kind == kind && open.sink == *sink)
    }

    fn find_or_open(
        &mut self,
        profile: &Arc<str>,
        kind: Kind,
        sink: &Arc<SinkFacts>,
        priority: u16,
    ) -> usize {
        // A sink that was replaced under its name has a new limit.
        let max_payload = self.publish.max_payload(&sink.name);
        if let Some(index) = self.find(profile, kind, sink) {
            let open = &mut self.open[index];
            open.priority = priority;
            open.max_payload = max_payload;
            open.is_left = false;
            open.is_used = true;
            return index;
        }
        let header = BatchHeader {
            cluster: self.identity.cluster.clone(),
            node: self.identity.node.clone(),
            epoch: self.identity.epoch,
            profile: profile.to_string(),
            kind,
        };
        let open = OpenBatch {
            builder: BatchBuilder::new(sink.encoding, header),
            profile: Arc::clone(profile),
            kind,
            sink: Arc::clone(sink),
            subject: subject(&sink.subject_prefix, profile, kind).into(),
            priority,
            counts: Vec::new(),
            since_ns: 0,
            max_payload,
            is_left: false,
            is_used: true,
        };
        let free = self
            .open
            .iter()
            .position(|open| !open.is_used && open.builder.is_empty());
        if let Some(index) = free {
            self.open[index] = open;
            index
        } else {
            self.open.push(open);
            self.open.len() - 1
        }
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
        let batch = self.at_home(batch);
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

    /// The batch that takes this one's events: another one when the profile's events go to another sink by now.
    fn at_home(&mut self, batch: usize) -> usize {
        let Some(open) = self.open.get(batch).filter(|open| open.is_left) else {
            return batch;
        };
        let (profile, kind, priority) = (Arc::clone(&open.profile), open.kind, open.priority);
        let Some(sink) = self.homes.sink(&profile).map(Arc::clone) else {
            return batch;
        };
        match self.find(&profile, kind, &sink) {
            Some(index) => {
                self.open[index].is_left = false;
                self.open[index].is_used = true;
                index
            }
            None => self.find_or_open(&profile, kind, &sink, priority),
        }
    }

    /// Draws the boundary of a profile whose events go to another sink: what waits for the old one gets its numbers
    /// first, and nothing goes there any more.
    fn leave(&mut self, profile: &Arc<str>, tally: &mut Tally) {
        let Some(sink) = self.homes.sink(profile).map(Arc::clone) else {
            return;
        };
        for batch in 0..self.open.len() {
            if self.open[batch].profile == *profile && self.open[batch].sink.name != sink.name {
                self.seal(batch, tally);
                self.open[batch].is_left = true;
            }
        }
        let next = self.next_seq.get(profile).copied().unwrap_or(FIRST_SEQ);
        self.homes.draw(profile, next);
    }

    /// Draws the boundaries that are still to be drawn. Returns those of this edit.
    pub(super) fn leave_all(&mut self, tally: &mut Tally) -> Vec<Moved> {
        for profile in self.homes.moving() {
            self.leave(&profile, tally);
        }
        self.homes.take_drawn()
    }

    /// Seals a batch and hands it to publishing.
    fn seal(&mut self, batch: usize, tally: &mut Tally) {
        let Some(open) = self.open.get(batch).filter(|open| !open.builder.is_empty()) else {
            return;
        };
        if self.homes.is_moving_to(&open.profile, &open.sink.name) {
            let profile = Arc::clone(&open.profile);
            self.leave(&profile, tally);
        }
        let open = &mut self.open[batch];
        // Publishing moves these events at once: they must be counted first.
        tally.flush();
        let next = self
            .next_seq
            .entry(Arc::clone(&open.profile))
            .or_insert(FIRST_SEQ);
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

    /// The shortest linger of all batches that may get events.
    pub(super) fn least_linger_ns(&self) -> Option<u64> {
        self.open
            .iter()
            .filter(|open| open.is_used)
            .map(|open| open.sink.linger_ns)
            .min()
    }

    /// The next `seq` of each profile.
    pub(super) fn sequences(&self) -> BTreeMap<String, u64> {
        self.next_seq
            .iter()
            .map(|(profile, next)| (profile.to_string(), *next))
            .collect()
    }

    /// Seals batches that no configuration names any more, and gives their places up, so that edits do not pile batches
    /// up.
    pub(super) fn sweep(&mut self, used: &std::collections::HashSet<usize>, tally: &mut Tally) {
        for batch in 0..self.open.len() {
            self.open[batch].is_used = used.contains(&batch);
            if !self.open[batch].is_used {
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

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
