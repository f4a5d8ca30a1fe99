//! Records that wait for metadata: bounded in number and time, then decided whatever is known.

use std::collections::VecDeque;

/// Records that wait at most. At 500 bytes each, 2 MiB; more than these are decided at once.
const HELD_MAX: usize = 4096;
/// How long one waits at most: the informer's delay behind the kubelet is within it.
const HOLD_NS: u64 = 250_000_000;

/// A record and the slots that still wait for their scope.
pub(super) struct HeldRecord {
    pub(super) bytes: Box<[u8]>,
    pub(super) slots: u64,
    /// Id of the configuration that admitted it.
    pub(super) config_id: u32,
    pub(super) cut: u32,
    pub(super) due_ns: u64,
}

/// The waiting records, oldest first.
#[derive(Default)]
pub(super) struct Held {
    records: VecDeque<HeldRecord>,
}

impl Held {
    pub(super) fn has_room(&self) -> bool {
        self.records.len() < HELD_MAX
    }

    pub(super) fn hold(&mut self, bytes: &[u8], slots: u64, config_id: u32, cut: u32, now_ns: u64) {
        let due_ns = now_ns + HOLD_NS;
        self.records.push_back(HeldRecord {
            bytes: bytes.into(),
            slots,
            config_id,
            cut,
            due_ns,
        });
    }

    /// The oldest configuration that a held record names.
    pub(super) fn oldest_config(&self) -> Option<u32> {
        self.records.iter().map(|record| record.config_id).min()
    }

    pub(super) fn next_due_ns(&self) -> Option<u64> {
        self.records.front().map(|record| record.due_ns)
    }

    pub(super) fn take(&mut self) -> VecDeque<HeldRecord> {
        std::mem::take(&mut self.records)
    }

    pub(super) fn put_back(&mut self, record: HeldRecord) {
        self.records.push_back(record);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}
