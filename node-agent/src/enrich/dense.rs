//! Hands out the small numbers by which the kernel's per-workload limit buckets are addressed.

use weir_node_agent_common::config::KEYED_WORKLOADS;

/// Shared by what is unknown and what found no free index.
pub const SHARED_INDEX: u32 = 0;
/// The host's own processes, which are one workload.
pub const HOST_INDEX: u32 = 1;

/// Indices from `HOST_INDEX + 1` up to the size of the kernel's tables.
#[derive(Debug)]
pub struct DenseIndices {
    free: Vec<u32>,
    next: u32,
    overflowed: u64,
    sharing: u64,
}

impl Default for DenseIndices {
    fn default() -> Self {
        Self {
            free: Vec::new(),
            next: HOST_INDEX + 1,
            overflowed: 0,
            sharing: 0,
        }
    }
}

impl DenseIndices {
    /// A free index, or [`SHARED_INDEX`] when there is none; that is counted.
    pub fn acquire(&mut self) -> u32 {
        if let Some(index) = self.free.pop() {
            return index;
        }
        if self.next < KEYED_WORKLOADS {
            self.next += 1;
            return self.next - 1;
        }
        self.overflowed += 1;
        self.sharing += 1;
        SHARED_INDEX
    }

    /// Gives back what [`Self::acquire`] gave, for the next to take.
    pub fn release(&mut self, index: u32) {
        if index > HOST_INDEX {
            self.free.push(index);
        } else if index == SHARED_INDEX {
            self.sharing = self.sharing.saturating_sub(1);
        }
    }

    /// How many share [`SHARED_INDEX`] now because there was no free index: above zero, limits per workload are
    /// `Degraded`.
    #[must_use]
    pub fn sharing(&self) -> u64 {
        self.sharing
    }

    /// How often there was no free index, monotonic.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn acquire_gives_each_index_once_then_the_shared_one() {
        let mut indices = DenseIndices::default();
        let all: HashSet<u32> = (2..KEYED_WORKLOADS).map(|_| indices.acquire()).collect();
        assert_eq!(all, (2..KEYED_WORKLOADS).collect());
        assert_eq!(indices.overflowed(), 0);
        assert_eq!(indices.acquire(), SHARED_INDEX);
        assert_eq!((indices.overflowed(), indices.sharing()), (1, 1));
        indices.release(SHARED_INDEX);
        assert_eq!((indices.overflowed(), indices.sharing()), (1, 0));
        indices.release(77);
        assert_eq!((indices.acquire(), indices.acquire()), (77, SHARED_INDEX));
        assert_eq!((indices.overflowed(), indices.sharing()), (2, 1));
    }
}
