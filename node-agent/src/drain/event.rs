//! One record's way: attribute, judge scope, encode into the open batch of each of its slots.

use weir_events::{Attribution, EventView, PayloadView, ProcessView};
use weir_node_agent_common::record::{FLAG_TABLE, Header};

use super::Drain;
use super::batches::Batches;
use super::hold::Held;
use super::source::Source;
use super::table::Tables;
use super::tally::Tally;
use crate::decode::{Payload, header, payload};
use crate::enrich::clock::{self, Offset};
use crate::enrich::{Index, Processes, Subject, Verdict};

/// Bulk records between two looks at the control ring: about 100 us of work.
const CONTROL_EVERY: u64 = 512;

/// What handling a record needs, apart from the rings it comes from.
struct Desk<'a> {
    index: &'a mut Index,
    processes: &'a mut Processes,
    batches: &'a mut Batches,
    tables: &'a Tables,
    held: &'a mut Held,
    tally: &'a mut Tally,
    offset: Offset,
    synthetic: bool,
    closed: u32,
    now_ns: u64,
}

impl Drain {
    fn desk(&mut self) -> (Desk<'_>, &mut Source) {
        let synthetic = self.source.is_synthetic();
        let desk = Desk {
            index: &mut self.index,
            processes: &mut self.processes,
            batches: &mut self.batches,
            tables: &self.tables,
            held: &mut self.held,
            tally: &mut self.tally,
            offset: self.clock.offset(),
            synthetic,
            closed: self.closed,
            now_ns: clock::boot_ns(),
        };
        (desk, &mut self.source)
    }

    /// Drains the control ring whole.
    pub(super) fn drain_control(&mut self) {
        let (mut desk, source) = self.desk();
        if let Source::Kernel(rings, _) = source {
            let until = rings.control.producer_position();
            rings.control.drain(until, |record| {
                desk.lifecycle(record);
                true
            });
        }
    }

    /// Drains bulk up to `until`, or to where control needs a look. Returns the records and whether it paused.
    pub(super) fn drain_bulk(&mut self, until: u64) -> (u64, bool) {
        let (mut desk, source) = self.desk();
        let mut since_look = 0;
        match source {
            Source::Kernel(rings, _) => {
                let control = &rings.control;
                let mut paused = false;
                let records = rings.bulk.drain(until, |record| {
                    desk.record(record);
                    since_look += 1;
                    if since_look >= CONTROL_EVERY {
                        since_look = 0;
                        paused = control.producer_position() != control.position();
                    }
                    !paused
                });
                (records, paused)
            }
            Source::Synthetic(generator, _) => (generator.drain(|record| desk.record(record)), false),
        }
    }

    /// Decides the held records that a configuration of this side admitted, whatever is known by now: the side's rules are
    /// about to be another configuration's, which say nothing of them.
    pub(super) fn settle_side(&mut self, side: u32) {
        let records = self.held.take();
        for record in records {
            let of_side = self
                .tables
                .get(record.config_id)
                .is_some_and(|table| table.side & 1 == side & 1);
            if of_side {
                self.desk().0.reconsider(record, u64::MAX);
            } else {
                self.held.put_back(record);
            }
        }
    }

    /// Decides the held records whose time is over, and those whose scope is known by now.
    pub(super) fn settle_held(&mut self, now_ns: u64) {
        if self.held.is_empty() {
            return;
        }
        let records = self.held.take();
        let (mut desk, _) = self.desk();
        for record in records {
            desk.reconsider(record, now_ns);
        }
    }
}

impl Desk<'_> {
    /// The cut that will close over a record of this lane: the first open one of its parity.
    const fn cut(&self, lane: u8) -> u32 {
        let next = self.closed + 1;
        if next & 1 == (lane & 1) as u32 {
            next
        } else {
            next + 1
        }
    }

    fn lifecycle(&mut self, record: &[u8]) {
        let Some(header) = header(record) else { return };
        match payload(&header, record) {
            Ok(Payload::Cgroup { id, path, made: true }) => self.index.cgroup_made(id, path, header.boot_ns),
            Ok(Payload::Cgroup {
                id,
                path,
                made: false,
            }) => self.index.cgroup_removed(id, path, header.boot_ns),
            Ok(Payload::Event(_)) => tracing::debug!(kind = header.kind, "an event in the control ring"),
            Err(error) => tracing::warn!(%error, "malformed control record"),
        }
    }

    fn record(&mut self, record: &[u8]) {
        let Some(header) = header(record) else {
            tracing::warn!(len = record.len(), "a record without a header");
            return;
        };
        let cut = self.cut(header.lane);
        let payload = match payload(&header, record) {
            Ok(Payload::Event(payload)) => payload,
            Ok(Payload::Cgroup { .. }) => {
                tracing::warn!("a control record in the bulk ring");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "malformed record");
                self.each_slot(&header, header.slots, |desk, row, _| {
                    desk.tally.of(row, cut).malformed += 1;
                });
                return;
            }
        };
        if header.flags & FLAG_TABLE != 0 {
            self.learn(&header, &payload);
        }
        if header.slots != 0 {
            let waiting = self.emit(&header, &payload, header.slots, cut, true);
            if waiting != 0 {
                self.held
                    .hold(record, waiting, header.config_id, cut, self.now_ns);
                self.each_slot(&header, waiting, |desk, row, _| desk.tally.of(row, cut).held += 1);
            }
        }
    }

    fn reconsider(&mut self, held: super::hold::HeldRecord, now_ns: u64) {
        let Some(header) = header(&held.bytes) else { return };
        let Ok(Payload::Event(payload)) = payload(&header, &held.bytes) else {
            return;
        };
        let may_wait = now_ns < held.due_ns;
        let waiting = self.emit(&header, &payload, held.slots, held.cut, may_wait);
        let released = held.slots & !waiting;
        self.each_slot(&header, released, |desk, row, _| {
            desk.tally.of(row, held.cut).released += 1;
        });
        if waiting != 0 {
            self.held.put_back(super::hold::HeldRecord {
                slots: waiting,
                ..held
            });
        }
    }

    fn each_slot(
        &mut self,
        header: &Header,
        slots: u64,
        mut each: impl FnMut(&mut Self, crate::ledger::RowId, u32),
    ) {
        let tables = self.tables;
        let Some(table) = tables.get(header.config_id) else {
            return;
        };
        for bit in bits(slots) {
            if let Some(bound) = table.slot(header.kind, bit) {
                each(self, bound.slot.row, bit);
            }
        }
    }

    /// Feeds the process table.
    fn learn(&mut self, header: &Header, payload: &PayloadView<'_>) {
        match payload {
            PayloadView::ProcessExec(exec) => {
                self.processes.exec(subject(header), exec.exe, exec.exe_truncated);
            }
            PayloadView::ProcessExit(_) => self.processes.exit(header.tgid, header.start_ns, header.boot_ns),
            PayloadView::NetConnect(_) | PayloadView::FileOpen(_) => {}
        }
    }

    /// Encodes the record for its slots. Returns those that must wait for metadata.
    fn emit(
        &mut self,
        header: &Header,
        payload: &PayloadView<'_>,
        slots: u64,
        cut: u32,
        may_wait: bool,
    ) -> u64 {
        let tables = self.tables;
        let Some(table) = tables.get(header.config_id) else {
            // Its configuration was retired too early: that would be our bug, and the cut shows it as not closed.
            tracing::error!(config = header.config_id, "a record of an unknown configuration");
            return 0;
        };
        let may_wait = may_wait && self.held.has_room();
        let entry = self.index.cgroup(header.cgroup_id);
        let exe = if let PayloadView::ProcessExec(exec) = payload {
            exec.exe
        } else {
            self.processes
                .lookup(subject(header))
                .map_or(&[][..], |facts| facts.exe)
        };
        let comm_len = header
            .comm
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(header.comm.len());
        let process = ProcessView {
            pid: header.tgid,
            tid: header.tid,
            ppid: header.ppid,
            uid: Some(header.uid),
            gid: Some(header.gid),
            comm: &header.comm[..comm_len],
            exe,
            args: &[],
            args_truncated: false,
            start_time_unix_nanos: if header.start_ns == 0 {
                0
            } else {
                self.offset.wall_ns(header.start_ns)
            },
        };
        let mut waiting = 0;
        for bit in bits(slots) {
            let Some(bound) = table.slot(header.kind, bit) else {
                continue;
            };
            let slot = &bound.slot;
            let verdict = if self.synthetic {
                Verdict::In
            } else {
                entry.map_or(Verdict::Undecided, |entry| {
                    entry.decisions[(table.side & 1) as usize].verdict(slot.profile_index)
                })
            };
            let attribution = match (verdict, entry) {
                (Verdict::Out, _) => {
                    self.tally.of(slot.row, cut).out_of_scope += 1;
                    continue;
                }
                (Verdict::Undecided, _) if may_wait => {
                    waiting |= 1 << bit;
                    continue;
                }
                (Verdict::Undecided, _) => Attribution::Late,
                (Verdict::In, Some(entry)) => entry.attribution,
                (Verdict::In, None) => Attribution::Unknown,
            };
            let view = EventView {
                time_unix_nanos: self.offset.wall_ns(header.boot_ns),
                time_error_nanos: u32::try_from(self.offset.error_ns).unwrap_or(u32::MAX),
                kind: slot.kind,
                event: &slot.event,
                generation: slot.generation,
                attribution,
                process,
                workload: entry.and_then(|entry| entry.workload.as_deref()),
                weight: slot.weight,
                synthetic: self.synthetic,
                payload: *payload,
            };
            self.batches
                .add(bound.batch, slot.row, cut, header.boot_ns, &view, self.tally);
        }
        waiting
    }
}

fn subject(header: &Header) -> Subject<'_> {
    Subject {
        tgid: header.tgid,
        ppid: header.ppid,
        start_ns: header.start_ns,
        boot_ns: header.boot_ns,
        comm: &header.comm,
    }
}

/// The numbers of the set bits.
fn bits(mut mask: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let bit = mask.trailing_zeros();
            mask &= mask - 1;
            bit
        })
    })
}
