//! The one module that decides, writes to a ring and counts. Every occurrence that matched a slot leaves here
//! with exactly one outcome for that slot.

use aya_ebpf::helpers::generated::bpf_ringbuf_output;
use weir_node_agent_common::config::slot_index;
use weir_node_agent_common::{hook, kind};

use crate::limit;
use crate::maps::{BULK, CONTROL, HOOKS, WAKE};
use crate::slot::{self, ADMITTED, Place};
use crate::visit::Visit;

/// `BPF_RB_NO_WAKEUP`.
const NO_WAKEUP: u64 = 1;

/// Counts one for a hook.
#[inline(always)]
pub fn count_hook(hook: u32, counter: u32) {
    if let Some(counters) = HOOKS.get_ptr_mut(hook) {
        // SAFETY: `counter` is one of hook::*, below hook::COUNTERS.
        limit::add(unsafe { counters.cast::<u64>().add(counter as usize) }, 1);
    }
}

/// Where a slot counts, and for whom.
#[inline(always)]
fn place(visit: &Visit, kind: u8, bit: u32) -> Place {
    Place::new(
        slot_index(visit.active.side(), kind, bit),
        visit.active.lane(),
        visit.hook,
    )
}

/// Visits every slot of a mask. `each` calls one of the functions of `slot.rs`, which the verifier checks once
/// and for all, so that the loop costs it next to nothing.
#[inline(always)]
fn for_each(mask: u64, mut each: impl FnMut(u32, u64)) {
    let mut rest = mask;
    for _ in 0..64 {
        if rest == 0 {
            break;
        }
        let bit = rest & rest.wrapping_neg();
        rest &= !bit;
        each(bit.trailing_zeros(), bit);
    }
}

/// Decides for every matched slot of the kind: scope, sample, limits. Counts what is not admitted and returns
/// the mask of what is; the caller must pass that mask to [`output`].
#[inline(always)]
pub fn decide(visit: &Visit, kind: u8, matched: u64, now: u64, start_ns: u64) -> u64 {
    // A fixed mix of the process's identity: sampled by process, it is in or out for its life.
    let process =
        (start_ns ^ u64::from(visit.tgid()).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let mut admitted = 0;
    for_each(matched, |bit, mask| {
        let decision = slot::decide_slot(
            place(visit, kind, bit).0,
            visit.workload,
            visit.profiles,
            now,
            process,
        );
        if decision == ADMITTED {
            admitted |= mask;
        }
    });
    admitted
}

/// Drops the slots whose least latency is above `latency_ns`.
#[inline(always)]
pub fn at_least_latency(visit: &Visit, kind: u8, constrained: u64, mask: u64, latency_ns: u64) -> u64 {
    let mut kept = mask;
    for_each(mask & constrained, |bit, mask| {
        if slot::too_fast(place(visit, kind, bit).0, latency_ns) != 0 {
            kept &= !mask;
        }
    });
    kept
}

/// Counts slots whose match could not be evaluated, in their scope.
#[inline(always)]
pub fn undecided(visit: &Visit, kind: u8, mask: u64) {
    for_each(mask, |bit, _| {
        slot::undecided_slot(place(visit, kind, bit).0, visit.profiles);
    });
}

/// Writes the record to the bulk ring and settles every admitted slot: `ringed`, or `ring_full` and refunded.
#[inline(always)]
pub fn output(visit: &Visit, kind: u8, admitted: u64, record: *const u8, len: u64) {
    let wake = WAKE.get(0).map_or(0, |mode| {
        // SAFETY: a map value; the agent changes it at any time.
        unsafe { (&raw const *mode).read_volatile() }
    });
    // SAFETY: `record` is a claimed buffer of at least `len` bytes; the verifier checks it.
    let written = unsafe {
        bpf_ringbuf_output(
            (&raw const BULK).cast_mut().cast(),
            record.cast_mut().cast(),
            len,
            wake & NO_WAKEUP,
        )
    } == 0;
    for_each(admitted, |bit, _| {
        slot::settle_slot(place(visit, kind, bit).0, visit.workload, u32::from(written));
    });
    if kind == kind::PROCESS_EXEC || kind == kind::PROCESS_EXIT {
        count_hook(
            visit.hook,
            if written {
                hook::TABLE_RINGED
            } else {
                hook::TABLE_RING_FULL
            },
        );
    }
}

/// Writes a control record; these are few and always wake the consumer adaptively.
#[inline(always)]
pub fn control(hook: u32, record: *const u8, len: u64) {
    // SAFETY: as in `output`.
    let written = unsafe {
        bpf_ringbuf_output(
            (&raw const CONTROL).cast_mut().cast(),
            record.cast_mut().cast(),
            len,
            0,
        )
    };
    if written != 0 {
        count_hook(hook, hook::CONTROL_RING_FULL);
    }
}
