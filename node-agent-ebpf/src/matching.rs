//! Matching by masks: each field costs one lookup for all slots of a kind, and none when nobody constrains it.

use aya_ebpf::maps::lpm_trie::Key;
use weir_node_agent_common::config::{
    ExactKey, KEY_HEAD_BITS, KindConfig, NetKey, PATH_KEY_BYTES, PathKey, field,
};

use crate::maps::{MATCH_EXACT, MATCH_NET, MATCH_PATH};
use crate::task::Identity;
use crate::visit::Visit;

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
pub fn task(visit: &Visit, kind: u8, config: &KindConfig, mask: u64, who: &Identity) -> u64 {
    let mask = exact(visit, kind, field::COMM, config.any_comm, mask, who.comm);
    number(visit, kind, field::UID, config.any_uid, mask, who.uid_gid as u32)
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
