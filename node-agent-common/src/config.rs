//! Configuration maps: keys, values, and the word that says which side and lane are active.

use crate::kind::MAX_KINDS;
use crate::shared;

/// Profiles on a node.
pub const MAX_PROFILES: u32 = 64;
/// Slots of one kind: the bits of a record's mask.
pub const SLOTS_PER_KIND: u32 = 64;
/// Two sides: one runs while the other is written.
pub const SIDES: u32 = 2;
/// Limiter tables keyed by workload.
pub const KEYED_TABLES: u32 = 16;
/// Workloads per keyed table; index 0 is shared by the unknown and the overflow.
pub const KEYED_WORKLOADS: u32 = 4096;
/// Limit buckets that are not keyed: one per slot, then one per profile.
pub const BUCKETS: u32 = crate::outcome::MAX_SLOTS + MAX_PROFILES;

/// The word in `ACTIVE`, read once by a program at its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active(pub u64);

impl Active {
    /// Packs side (0 or 1), lane (0 or 1) and configuration id.
    #[must_use]
    pub const fn new(side: u32, lane: u32, config_id: u32) -> Self {
        Self((side & 1) as u64 | ((lane & 1) as u64) << 1 | (config_id as u64) << 32)
    }
    /// The side that configuration is read from.
    #[inline(always)]
    #[must_use]
    pub const fn side(self) -> u32 {
        (self.0 & 1) as u32
    }
    /// The lane that counts.
    #[inline(always)]
    #[must_use]
    pub const fn lane(self) -> u32 {
        (self.0 >> 1 & 1) as u32
    }
    /// The configuration's id.
    #[inline(always)]
    #[must_use]
    pub const fn config_id(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Index of a kind's configuration on a side.
#[inline(always)]
#[must_use]
pub const fn kind_index(side: u32, kind: u8) -> u32 {
    (side & 1) * MAX_KINDS + kind as u32
}

/// Index of a slot's configuration: side, kind, bit.
#[inline(always)]
#[must_use]
pub const fn slot_index(side: u32, kind: u8, bit: u32) -> u32 {
    kind_index(side, kind) * SLOTS_PER_KIND + (bit & 63)
}

/// Index of a keyed bucket.
#[inline(always)]
#[must_use]
pub const fn keyed_index(table: u32, workload: u32) -> u32 {
    (table & (KEYED_TABLES - 1)) * KEYED_WORKLOADS + (workload & (KEYED_WORKLOADS - 1))
}

shared! {
    /// What a kind's program must know, as masks over the kind's slots.
    ///
    /// A slot passes a field when it does not constrain it (`any_*`) or when the field's map says so.
    pub struct KindConfig = 136 {
        /// Slots in use.
        pub slots: u64,
        /// Slots without a `comm` match.
        pub any_comm: u64,
        /// Slots without a `binaries` match.
        pub any_binary: u64,
        /// Slots without a `paths` match.
        pub any_path: u64,
        /// Slots without a `uids` match.
        pub any_uid: u64,
        /// Slots without a `ports` match.
        pub any_port: u64,
        /// Slots without a `cidrs` match.
        pub any_cidr: u64,
        /// Slots without an `errnos` match.
        pub any_errno: u64,
        /// Slots without a `signals` match.
        pub any_signal: u64,
        /// Slots that take opens for reading only.
        pub access_read: u64,
        /// Slots that take opens for writing only.
        pub access_write: u64,
        /// Slots that take opens for both.
        pub access_read_write: u64,
        /// Slots that take TCP.
        pub protocol_tcp: u64,
        /// Slots that take UDP.
        pub protocol_udp: u64,
        /// Slots that take any other or unknown protocol.
        pub protocol_other: u64,
        /// Slots with a least latency.
        pub min_latency: u64,
        /// Bits `KIND_*`.
        pub flags: u64,
    }
}

impl KindConfig {
    /// No slot at all.
    pub const EMPTY: Self = Self {
        slots: 0,
        any_comm: 0,
        any_binary: 0,
        any_path: 0,
        any_uid: 0,
        any_port: 0,
        any_cidr: 0,
        any_errno: 0,
        any_signal: 0,
        access_read: 0,
        access_write: 0,
        access_read_write: 0,
        protocol_tcp: 0,
        protocol_udp: 0,
        protocol_other: 0,
        min_latency: 0,
        flags: 0,
    };
}

/// [`KindConfig::flags`]: the process table needs this kind's records although no slot may.
pub const KIND_TABLE: u64 = 1;

shared! {
    /// One slot: where it counts and what holds it back.
    pub struct SlotConfig = 96 {
        /// Node-wide slot number, 0..256: counters and bucket.
        pub slot: u32,
        /// Profile index, 0..64.
        pub profile: u32,
        /// Bits `SLOT_*`.
        pub flags: u32,
        /// Keep one in so many; 0 and 1 keep all.
        pub sample_one_in: u32,
        /// Keyed table of the event's limit; used where `SLOT_PER_*` is set.
        pub event_table: u32,
        /// Keyed table of the per-workload limit.
        pub workload_table: u32,
        /// Event limit: interval, ns; 0 is none.
        pub event_interval: u64,
        /// Event limit: tolerance, ns.
        pub event_tolerance: u64,
        /// Profile limit: interval, ns; 0 is none.
        pub profile_interval: u64,
        /// Profile limit: tolerance, ns.
        pub profile_tolerance: u64,
        /// Per-workload limit: interval, ns; 0 is none.
        pub workload_interval: u64,
        /// Per-workload limit: tolerance, ns.
        pub workload_tolerance: u64,
        /// Least latency, ns; used where the kind's `min_latency` has the bit.
        pub min_latency_ns: u64,
        /// Zero.
        pub reserved: [u64; 2],
    }
}

/// [`SlotConfig::flags`]: count, emit nothing.
pub const SLOT_DRY_RUN: u32 = 1;
/// [`SlotConfig::flags`]: sample by process, not by event.
pub const SLOT_SAMPLE_BY_PROCESS: u32 = 2;
/// [`SlotConfig::flags`]: the event's limit is per pod.
pub const SLOT_PER_POD: u32 = 4;
/// [`SlotConfig::flags`]: the event's limit is per container.
pub const SLOT_PER_CONTAINER: u32 = 8;

shared! {
    /// What is known of a cgroup.
    pub struct Scope = 32 {
        /// Profiles that take its events, per side.
        pub profiles: [u64; 2],
        /// Dense index of its pod, 0 where unknown.
        pub pod_index: u32,
        /// Dense index of its container, 0 where unknown.
        pub container_index: u32,
        /// Bits `SCOPE_*`.
        pub flags: u64,
    }
}

/// [`Scope::flags`]: another node's cgroup, or the agent's own.
pub const SCOPE_EXCLUDED: u64 = 1;

/// [`ExactKey::field`] and [`PathKey`] and [`NetKey`]: which match field an entry is for.
pub mod field {
    /// `comm`.
    pub const COMM: u8 = 0;
    /// `uids`.
    pub const UID: u8 = 1;
    /// `errnos`.
    pub const ERRNO: u8 = 2;
    /// `signals`.
    pub const SIGNAL: u8 = 3;
    /// `paths`.
    pub const PATH: u8 = 4;
    /// `binaries`.
    pub const BINARY: u8 = 5;
    /// `ports`.
    pub const PORT: u8 = 6;
    /// `cidrs`, IPv4.
    pub const CIDR4: u8 = 7;
    /// `cidrs`, IPv6.
    pub const CIDR6: u8 = 8;
}

shared! {
    /// Key of the exact-match map; the value is the mask of slots that list the value.
    pub struct ExactKey = 20 {
        /// Side.
        pub side: u8,
        /// Kind.
        pub kind: u8,
        /// One of [`field`].
        pub field: u8,
        /// Zero.
        pub reserved: u8,
        /// The value, zero padded; numbers little endian.
        pub value: [u8; 16],
    }
}

/// Bytes of path that a trie entry can hold; an exact path includes its NUL.
pub const PATH_KEY_BYTES: usize = 248;

shared! {
    /// Key of the path trie (`BPF_MAP_TYPE_LPM_TRIE`), with its prefix length in front.
    ///
    /// An exact path is the path with its NUL, a prefix is the bytes alone. The trie returns the longest
    /// match only, so the value holds the union of the masks of all its ancestors.
    pub struct PathKey = 252 {
        /// Side.
        pub side: u8,
        /// Kind.
        pub kind: u8,
        /// [`field::PATH`] or [`field::BINARY`].
        pub field: u8,
        /// Zero.
        pub reserved: u8,
        /// The path.
        pub path: [u8; PATH_KEY_BYTES],
    }
}

shared! {
    /// Key of the network trie: ports and addresses, network byte order.
    pub struct NetKey = 20 {
        /// Side.
        pub side: u8,
        /// Kind.
        pub kind: u8,
        /// [`field::PORT`], [`field::CIDR4`] or [`field::CIDR6`].
        pub field: u8,
        /// Zero.
        pub reserved: u8,
        /// Port in the first two bytes, or the address.
        pub value: [u8; 16],
    }
}

/// Bits of a trie key before its value: side, kind, field, reserved.
pub const KEY_HEAD_BITS: u32 = 32;

/// `WAKE` value: the kernel wakes the consumer when it was caught up.
pub const WAKE_ADAPTIVE: u64 = 0;
/// `WAKE` value: the consumer drains by its own clock (`BPF_RB_NO_WAKEUP`).
pub const WAKE_NEVER: u64 = 1;
