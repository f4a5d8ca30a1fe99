//! The workloads of one batch: identity to place, without clearing memory between batches.

/// Slots at first; a power of two, as every size after it.
const FIRST_SLOTS: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    identity: u32,
    /// The place in the batch's table, counted from 1.
    index: u32,
    /// The batch it was filled in; any other is an empty slot. The first batch is 1.
    batch: u64,
}

/// Open addressing; a slot is empty unless it is of the current batch.
#[derive(Debug)]
pub(super) struct WorkloadTable {
    slots: Vec<Slot>,
    len: u32,
    batch: u64,
}

impl Default for WorkloadTable {
    fn default() -> Self {
        Self {
            slots: vec![Slot::default(); FIRST_SLOTS],
            len: 0,
            batch: 1,
        }
    }
}

impl WorkloadTable {
    /// The place of `identity`, counted from 1, and whether it is new.
    pub(super) fn place(&mut self, identity: u32) -> (u32, bool) {
        // At most half full, so that there is always an empty slot to stop at.
        if self.slots.len() / 2 <= self.len as usize {
            self.grow();
        }
        let batch = self.batch;
        let next = self.len + 1;
        let Some(slot) = self.find(identity) else {
            return (0, false);
        };
        if slot.batch == batch {
            return (slot.index, false);
        }
        *slot = Slot {
            identity,
            index: next,
            batch,
        };
        self.len = next;
        (next, true)
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Forgets `identity`, which was the last one placed.
    pub(super) fn forget_last(&mut self, identity: u32) {
        let (batch, len) = (self.batch, self.len);
        if let Some(slot) = self.find(identity)
            && slot.batch == batch
            && slot.index == len
        {
            // The last one in never stands in another one's way.
            *slot = Slot::default();
            self.len -= 1;
        }
    }

    /// Starts the next batch.
    pub(super) fn clear(&mut self) {
        self.batch += 1;
        self.len = 0;
    }

    /// The slot that holds `identity`, or the empty one where it belongs.
    fn find(&mut self, identity: u32) -> Option<&mut Slot> {
        let mask = self.slots.len() - 1;
        // Fibonacci hashing; identities are often consecutive.
        let start = (u64::from(identity).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let place = (0..self.slots.len())
            .map(|step| start.wrapping_add(step) & mask)
            .find(|&place| {
                self.slots
                    .get(place)
                    .is_some_and(|slot| slot.batch != self.batch || slot.identity == identity)
            })?;
        self.slots.get_mut(place)
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![Slot::default(); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, doubled);
        let batch = self.batch;
        for slot in old.into_iter().filter(|slot| slot.batch == batch) {
            if let Some(place) = self.find(slot.identity) {
                *place = slot;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_stable_and_per_batch() {
        let mut table = WorkloadTable::default();
        for round in 0..3_u32 {
            for place in 1..=1000_u32 {
                assert_eq!(table.place(place.wrapping_mul(7919) ^ round), (place, true));
            }
            for place in (1..=1000_u32).rev() {
                assert_eq!(table.place(place.wrapping_mul(7919) ^ round), (place, false));
            }
            assert_eq!(table.len(), 1000);
            table.clear();
            assert_eq!(table.len(), 0);
        }
    }

    #[test]
    fn a_forgotten_place_is_given_again() {
        let mut table = WorkloadTable::default();
        assert_eq!(table.place(5), (1, true));
        assert_eq!(table.place(6), (2, true));
        table.forget_last(5);
        assert_eq!(table.len(), 2, "only the last one can be forgotten");
        table.forget_last(6);
        assert_eq!(table.place(9), (2, true));
        assert_eq!(table.place(6), (3, true));
        assert_eq!(table.place(5), (1, false));
    }
}
