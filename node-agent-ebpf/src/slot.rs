//! What is decided and counted for one slot. Part of `emit`: nothing else calls these.
//!
//! Each is a global function of scalars, so that the verifier checks it once for all values instead of once per
//! turn of a loop over 64 slots.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use weir_node_agent_common::config::{
    SLOT_DRY_RUN, SLOT_PER_CONTAINER, SLOT_PER_POD, SLOT_SAMPLE_BY_PROCESS, SlotConfig, keyed_index,
};
use weir_node_agent_common::hook;
use weir_node_agent_common::outcome::{self, MAX_SLOTS};

use crate::emit::count_hook;
use crate::limit;
use crate::maps::{BUCKET, COUNTERS, KEYED, SLOTS};

/// The slot takes the event.
pub const ADMITTED: u32 = 1;
/// The slot does not; the reason was counted, unless the event is out of the slot's scope.
pub const HELD_BACK: u32 = 0;

/// Index of the slot's configuration, the lane and the hook, in one scalar.
#[derive(Clone, Copy)]
pub struct Place(pub u64);

impl Place {
    #[inline(always)]
    pub fn new(index: u32, lane: u32, hook: u32) -> Self {
        Self(u64::from(index) | u64::from(lane) << 32 | u64::from(hook) << 40)
    }

    #[inline(always)]
    fn slot(self) -> Option<&'static SlotConfig> {
        // SAFETY: array map values live as long as the map.
        let slot = SLOTS.get_ptr(self.0 as u32).map(|slot| unsafe { &*slot });
        if slot.is_none() {
            self.count_error();
        }
        slot
    }

    #[inline(always)]
    fn count_error(self) {
        count_hook((self.0 >> 40) as u32, hook::ERROR_CONFIG);
    }

    /// Counts one outcome. Atomic even though per CPU: an interrupt between load and store would lose it.
    #[inline(always)]
    fn count(self, slot: &SlotConfig, outcome: u32) {
        if let Some(counters) = COUNTERS.get_ptr_mut((self.0 >> 32 & 1) as u32 * MAX_SLOTS + slot.slot) {
            // SAFETY: `outcome` is one of outcome::*, below outcome::COUNTERS.
            limit::add(unsafe { counters.cast::<u64>().add(outcome as usize) }, 1);
        }
    }
}

/// A bucket and its limit.
struct Bucket {
    /// Null where nothing limits: the bucket is not even looked for then.
    tat: *mut u64,
    interval: u64,
    tolerance: u64,
}

impl Bucket {
    /// `None` when the bucket is missing, though something limits.
    #[inline(always)]
    fn of(interval: u64, tolerance: u64, tat: impl FnOnce() -> Option<*mut u64>) -> Option<Self> {
        let tat = if interval == 0 {
            core::ptr::null_mut()
        } else {
            tat()?
        };
        Some(Self {
            tat,
            interval,
            tolerance,
        })
    }

    #[inline(always)]
    fn passes(&self, now: u64) -> bool {
        self.tat.is_null() || limit::peek(self.tat, now, self.interval, self.tolerance)
    }

    #[inline(always)]
    fn charge(&self, now: u64) -> bool {
        self.tat.is_null() || limit::charge(self.tat, now, self.interval, self.tolerance)
    }

    #[inline(always)]
    fn refund(&self) {
        if !self.tat.is_null() {
            limit::refund(self.tat, self.interval);
        }
    }
}

/// Whether anything limits the slot.
#[inline(always)]
fn is_limited(slot: &SlotConfig) -> bool {
    slot.workload_interval | slot.event_interval | slot.profile_interval != 0
}

/// The buckets of one slot, in the order in which they limit.
struct Buckets {
    workload: Bucket,
    event: Bucket,
    profile: Bucket,
    /// Whether more than one limits: what one refuses must not be charged to another.
    several: bool,
}

impl Buckets {
    /// `workload` packs the pod's index and, above it, the container's.
    #[inline(always)]
    fn of(slot: &SlotConfig, workload: u64) -> Option<Self> {
        let (pod, container) = (workload as u32, (workload >> 32) as u32);
        let limits = u32::from(slot.workload_interval != 0)
            + u32::from(slot.event_interval != 0)
            + u32::from(slot.profile_interval != 0);
        Some(Self {
            workload: Bucket::of(slot.workload_interval, slot.workload_tolerance, || {
                KEYED.get_ptr_mut(keyed_index(slot.workload_table, pod))
            })?,
            event: Bucket::of(slot.event_interval, slot.event_tolerance, || {
                if slot.flags & SLOT_PER_POD != 0 {
                    KEYED.get_ptr_mut(keyed_index(slot.event_table, pod))
                } else if slot.flags & SLOT_PER_CONTAINER != 0 {
                    KEYED.get_ptr_mut(keyed_index(slot.event_table, container))
                } else {
                    BUCKET.get_ptr_mut(slot.slot)
                }
            })?,
            profile: Bucket::of(slot.profile_interval, slot.profile_tolerance, || {
                BUCKET.get_ptr_mut(MAX_SLOTS + slot.profile)
            })?,
            several: limits > 1,
        })
    }

    /// Peeks all, then charges all; what was charged is refunded when a later one refuses.
    #[inline(always)]
    fn charge(&self, now: u64) -> Option<u32> {
        if self.several {
            if !self.workload.passes(now) {
                return Some(outcome::LIMITED_WORKLOAD);
            }
            if !self.event.passes(now) {
                return Some(outcome::LIMITED_EVENT);
            }
            if !self.profile.passes(now) {
                return Some(outcome::LIMITED_PROFILE);
            }
        }
        if !self.workload.charge(now) {
            return Some(outcome::LIMITED_WORKLOAD);
        }
        if !self.event.charge(now) {
            self.workload.refund();
            return Some(outcome::LIMITED_EVENT);
        }
        if !self.profile.charge(now) {
            self.workload.refund();
            self.event.refund();
            return Some(outcome::LIMITED_PROFILE);
        }
        None
    }

    #[inline(always)]
    fn refund(&self) {
        self.workload.refund();
        self.event.refund();
        self.profile.refund();
    }
}

/// Whether sampling keeps the occurrence.
#[inline(always)]
fn sampled(slot: &SlotConfig, process: u64) -> bool {
    if slot.sample_one_in <= 1 {
        return true;
    }
    // SAFETY: helper without arguments.
    let draw = if slot.flags & SLOT_SAMPLE_BY_PROCESS != 0 {
        process as u32
    } else {
        unsafe { bpf_get_prandom_u32() }
    };
    draw % slot.sample_one_in == 0
}

/// Scope, sample, limits of one slot. Returns [`ADMITTED`] or [`HELD_BACK`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn decide_slot(place: u64, workload: u64, profiles: u64, now: u64, process: u64) -> u32 {
    let place = Place(place);
    let Some(slot) = place.slot() else {
        return HELD_BACK;
    };
    if profiles >> (slot.profile & 63) & 1 == 0 {
        return HELD_BACK;
    }
    if !sampled(slot, process) {
        place.count(slot, outcome::SAMPLED_OUT);
        return HELD_BACK;
    }
    if is_limited(slot) {
        let Some(buckets) = Buckets::of(slot, workload) else {
            place.count_error();
            return HELD_BACK;
        };
        if let Some(limited) = buckets.charge(now) {
            place.count(slot, limited);
            return HELD_BACK;
        }
    }
    if slot.flags & SLOT_DRY_RUN != 0 {
        place.count(slot, outcome::DRY_RUN);
        return HELD_BACK;
    }
    ADMITTED
}

/// Counts an admitted event as `ringed`, or as `ring_full` and gives its limits back.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle_slot(place: u64, workload: u64, written: u32) -> u32 {
    let place = Place(place);
    let Some(slot) = place.slot() else { return 0 };
    if written != 0 {
        place.count(slot, outcome::RINGED);
        return 0;
    }
    if is_limited(slot)
        && let Some(buckets) = Buckets::of(slot, workload)
    {
        buckets.refund();
    }
    place.count(slot, outcome::RING_FULL);
    0
}

/// Counts an event whose match could not be evaluated, if it is in the slot's scope.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn undecided_slot(place: u64, profiles: u64) -> u32 {
    let place = Place(place);
    if let Some(slot) = place.slot()
        && profiles >> (slot.profile & 63) & 1 != 0
    {
        place.count(slot, outcome::UNDECIDED);
    }
    0
}

/// 1 when the slot asks for a longer latency.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn too_fast(place: u64, latency_ns: u64) -> u32 {
    Place(place)
        .slot()
        .map_or(0, |slot| u32::from(latency_ns < slot.min_latency_ns))
}
