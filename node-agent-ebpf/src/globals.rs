//! Constants that the loader fills in before a program is loaded; the verifier knows their values.

use weir_node_agent_common::offset::Offsets;

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

/// 1 when `sched_process_exit` says as its second argument that the whole process ended (6.16 and newer).
#[unsafe(no_mangle)]
static EXIT_HAS_GROUP_DEAD: u32 = 0;

/// Offset of one kernel field. A volatile read, since the compiler must not fold the placeholder in.
macro_rules! offset {
    ($field:ident) => {
        crate::globals::read_offset(core::mem::offset_of!(
            weir_node_agent_common::offset::Offsets,
            $field
        ))
    };
}
pub(crate) use offset;

#[inline(always)]
pub fn read_offset(at: usize) -> usize {
    // SAFETY: `at` is a field's offset inside OFFSETS, made by `offset_of!`.
    unsafe {
        (&raw const OFFSETS)
            .cast::<u8>()
            .add(at)
            .cast::<u32>()
            .read_volatile() as usize
    }
}

#[inline(always)]
pub fn exit_has_group_dead() -> bool {
    // SAFETY: a plain static.
    unsafe { (&raw const EXIT_HAS_GROUP_DEAD).read_volatile() != 0 }
}
