//! What the kernel decided for an occurrence and a slot; exactly one of these per occurrence and slot.

/// Left out by `sample`.
pub const SAMPLED_OUT: u32 = 0;
/// Held back by the event's own limit.
pub const LIMITED_EVENT: u32 = 1;
/// Held back by the profile's limit.
pub const LIMITED_PROFILE: u32 = 2;
/// Held back by the per-workload limit.
pub const LIMITED_WORKLOAD: u32 = 3;
/// Admitted, but the ring had no room; its limits were refunded.
pub const RING_FULL: u32 = 4;
/// Written to the ring.
pub const RINGED: u32 = 5;
/// Counted only: the profile is in `DryRun`.
pub const DRY_RUN: u32 = 6;
/// Held back by a CPU budget.
pub const THROTTLED: u32 = 7;
/// Held back by a pressure signal from user space.
pub const SUPPRESSED: u32 = 8;
/// Number of outcomes that make up `matched`.
pub const OUTCOMES: usize = 9;
/// Not an outcome: the match could not be evaluated. Outside the identity.
pub const UNDECIDED: u32 = 15;
/// Counters per slot and lane.
pub const COUNTERS: usize = 16;

/// Slots on a node, over all kinds.
pub const MAX_SLOTS: u32 = 256;
/// Counter sets: one is read while the other counts.
pub const LANES: u32 = 2;
