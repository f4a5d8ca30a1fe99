//! Matching by masks: each field costs one lookup for all slots of a kind, and none when nobody constrains it.
//!
//! A field that cannot be read rules no slot out. Such a slot is undecided unless another field rules it out.

use aya_ebpf::maps::lpm_trie::Key;
use weir_node_agent_common::config::{
    ExactKey, KEY_HEAD_BITS, KindConfig, NetKey, PATH_KEY_BYTES, PathKey, field,
};

use crate::emit::undecided;
use crate::maps::{MATCH_EXACT, MATCH_NET, MATCH_PATH};
use crate::task::Who;
use crate::visit::Visit;

/// What a field says that may be unreadable.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Listed {
    /// Slots that list its value.
    pub slots: u64,
    /// All ones when its value is not known.
    pub unknown: u64,
}

impl Listed {
    /// The value is not known.
    pub const UNKNOWN: Self = Self {
        slots: 0,
        unknown: u64::MAX,
    };

    /// The value is known, and these slots list it.
    #[inline(always)]
    pub const fn by(slots: u64) -> Self {
        Self { slots, unknown: 0 }
    }
}

/// The slots that an occurrence may match, field by field.
#[derive(Clone, Copy)]
pub struct Candidates {
    /// Those that no field has ruled out yet.
    pub slots: u64,
    /// Those with a field that is not known.
    unknown: u64,
}

impl Candidates {
    #[inline(always)]
    pub const fn of(slots: u64) -> Self {
        Self { slots, unknown: 0 }
    }

    /// Goes by one more field; `any` are the slots that do not constrain it.
    #[inline(always)]
    pub fn keep(&mut self, any: u64, listed: Listed) {
        self.unknown |= listed.unknown & !any;
        self.slots &= any | listed.slots | listed.unknown;
    }

    /// Counts the slots that cannot be decided, and returns those that match.
    #[inline(always)]
    pub fn matched(self, visit: &Visit, kind: u8) -> u64 {
        undecided(visit, kind, self.slots & self.unknown);
        self.slots & !self.unknown
    }
}

/// Slots left after an exact field.
#[inline(always)]
pub fn exact(visit: &Visit, kind: u8, field: u8, any: u64, mask: u64, value: [u64; 2]) -> u64 {
    if mask & !any == 0 {
        return mask;
    }
    let key = ExactKey {
        side: visit.active.side() as u8,
        kind,
        field,
        reserved: 0,
        // SAFETY: sixteen plain bytes.
        value: unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(value) },
    };
    // SAFETY: values are plain words.
    let listed = unsafe { MATCH_EXACT.get(&key) }.copied().unwrap_or(0);
    mask & (any | listed)
}

/// Slots left after an exact numeric field.
#[inline(always)]
pub fn number(visit: &Visit, kind: u8, field: u8, any: u64, mask: u64, number: u32) -> u64 {
    exact(visit, kind, field, any, mask, [u64::from(number), 0])
}

/// Slots left after what every kind has: `comm` and `uids`.
#[inline(always)]
pub fn task(visit: &Visit, kind: u8, config: &KindConfig, mask: u64, who: &impl Who) -> u64 {
    // Asked here, too: what nobody constrains need not be read.
    let mut mask = mask;
    if mask & !config.any_comm != 0 {
        mask = exact(visit, kind, field::COMM, config.any_comm, mask, who.comm());
    }
    if mask & !config.any_uid != 0 {
        mask = number(visit, kind, field::UID, config.any_uid, mask, who.uid());
    }
    mask
}

/// Slots left after a network field; `bits` of `value` count.
#[inline(always)]
pub fn net(visit: &Visit, kind: u8, field: u8, any: u64, mask: u64, bits: u32, value: &[u8; 16]) -> u64 {
    if mask & !any == 0 {
        return mask;
    }
    let key = Key::new(
        KEY_HEAD_BITS + bits,
        NetKey {
            side: visit.active.side() as u8,
            kind,
            field,
            reserved: 0,
            value: *value,
        },
    );
    mask & (any | MATCH_NET.get(&key).copied().unwrap_or(0))
}

/// Slots that list a prefix of, or exactly, the NUL-terminated path that stands 8 bytes after `head`.
///
/// The key's head is written over those 8 bytes, so that the path need not be copied; the caller rewrites
/// what stood there. Bytes behind the NUL do not matter: no entry reaches past its own NUL.
#[inline(always)]
pub fn path(visit: &Visit, kind: u8, field: u8, head: *mut u8) -> u64 {
    const BITS: u32 = KEY_HEAD_BITS + 8 * PATH_KEY_BYTES as u32;
    // SAFETY: the caller's buffer has a whole key's bytes behind `head`; the verifier checks it.
    unsafe {
        head.cast::<u32>().write(BITS);
        head.add(4).write(visit.active.side() as u8);
        head.add(5).write(kind);
        head.add(6).write(field);
        head.add(7).write(0);
        MATCH_PATH
            .get(&*head.cast::<Key<PathKey>>())
            .copied()
            .unwrap_or(0)
    }
}
