//! The limiter's buckets: GCRA by compare-and-swap on one word, whole-node, exact under contention.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use weir_node_agent_common::limit::admit;

/// After so many lost races the event is admitted all the same: contention is never counted as limiting.
const TRIES: u32 = 8;

/// Whether the bucket would admit an event now.
#[inline(always)]
pub fn peek(bucket: *mut u64, now: u64, interval: u64, tolerance: u64) -> bool {
    // SAFETY: a pointer into a map value; a torn read is impossible for an aligned word.
    admit(unsafe { bucket.read_volatile() }, now, interval, tolerance) != 0
}

/// Takes one event out of the bucket; false when it must not pass.
#[inline(always)]
pub fn charge(bucket: *mut u64, now: u64, interval: u64, tolerance: u64) -> bool {
    for _ in 0..TRIES {
        // SAFETY: as in `peek`.
        let old = unsafe { bucket.read_volatile() };
        let next = admit(old, now, interval, tolerance);
        if next == 0 {
            return false;
        }
        // SAFETY: an aligned word in a map value. The BPF target has no stable compare-and-swap.
        let (_, swapped) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(bucket, old, next)
        };
        if swapped {
            return true;
        }
    }
    add(bucket, interval);
    true
}

/// Puts one event back.
#[inline(always)]
pub fn refund(bucket: *mut u64, interval: u64) {
    add(bucket, interval.wrapping_neg());
}

/// Atomic add; the result is not needed, so that it is one plain instruction on every kernel.
#[inline(always)]
pub fn add(word: *mut u64, value: u64) {
    // SAFETY: an aligned word in a map value.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, value);
    }
}

/// Sets a flag if it was clear; true when this call set it.
#[inline(always)]
pub fn take(flag: *mut u32, from: u32, to: u32) -> bool {
    // SAFETY: an aligned word in a map value.
    unsafe { atomic_cxchg::<u32, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(flag, from, to).1 }
}
