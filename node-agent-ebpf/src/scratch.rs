//! Per-CPU buffers in which a record is assembled, claimed per nesting level.
//!
//! A program may be interrupted, or on some kernels preempted, by another on the same CPU; each takes a free
//! buffer by compare-and-swap and gives that one back, in whatever order they end.

use weir_node_agent_common::config::PATH_KEY_BYTES;
use weir_node_agent_common::record::{ARGS_BYTES, Header, PATH_BYTES};

use crate::limit::take;
use crate::maps::SCRATCH;
use crate::task::{Identity, Pending, write_current};
use crate::visit::Visit;

/// Buffers per CPU: task, soft interrupt, interrupt, and one more.
pub const LEVELS: u32 = 4;

/// Longest path that the walk keeps; a power of two, its offsets are masked with `WALK_BYTES - 1`.
pub const WALK_BYTES: usize = 1024;

/// Bytes from a record's start to the end of the largest fixed part.
const FIXED_BYTES: usize = size_of::<Header>() + 64;

/// One nesting level's buffer.
#[repr(C)]
pub struct Work {
    /// 1 while claimed.
    pub claimed: u32,
    /// Which of the CPU's buffers this is.
    pub level: u32,
    /// The task whose executable is looked for.
    pub task: u64,
    /// Who did it, where that may be another task than the one that runs.
    pub who: Identity,
    /// A connect to be remembered.
    pub pending: Pending,
    /// The record: header, fixed part, tail.
    pub record: [u8; FIXED_BYTES + PATH_BYTES + ARGS_BYTES],
    /// Head of a trie key (8 bytes) and the path to look up.
    pub key: [u8; 8 + PATH_BYTES + PATH_KEY_BYTES],
    /// A path, built from its end; the slack bounds one component and the copy out.
    pub walk: [u8; WALK_BYTES + PATH_BYTES],
}

impl Work {
    /// Pointer into the record.
    #[inline(always)]
    pub fn at(&mut self, offset: usize) -> *mut u8 {
        // SAFETY: callers pass constant offsets inside the record; the verifier checks each access.
        unsafe { self.record.as_mut_ptr().add(offset) }
    }

    /// The header.
    #[inline(always)]
    pub fn header(&mut self) -> &mut Header {
        // SAFETY: the record starts with the header and is 8-aligned; every bit pattern is valid.
        unsafe { &mut *self.record.as_mut_ptr().cast::<Header>() }
    }

    /// Writes the header for the task that runs now.
    #[inline(always)]
    pub fn write_current_header(&mut self, visit: &Visit, kind: u8, flags: u16, slots: u64, boot_ns: u64) {
        write_current(visit, self.header(), kind, flags, slots, boot_ns);
    }

    /// Writes the header for `self.who`.
    #[inline(always)]
    pub fn write_header(&mut self, visit: &Visit, kind: u8, flags: u16, slots: u64, boot_ns: u64) {
        // SAFETY: two disjoint parts of the buffer.
        let who = unsafe { &*(&raw const self.who) };
        who.write(visit, self.header(), kind, flags, slots, boot_ns);
    }

    /// The fixed part.
    #[inline(always)]
    pub fn fixed<T>(&mut self) -> &mut T {
        // SAFETY: every fixed part fits FIXED_BYTES, is 8-aligned, and every bit pattern is valid.
        unsafe { &mut *self.at(size_of::<Header>()).cast::<T>() }
    }
}

/// Takes a free buffer of this CPU.
#[inline(always)]
pub fn claim() -> Option<&'static mut Work> {
    for level in 0..LEVELS {
        let Some(work) = SCRATCH.get_ptr_mut(level) else {
            continue;
        };
        // SAFETY: a map value of this CPU; the flag gives this program sole use of the rest.
        unsafe {
            if take(&raw mut (*work).claimed, 0, 1) {
                (*work).level = level;
                return Some(&mut *work);
            }
        }
    }
    None
}

/// Gives the buffer back.
#[inline(always)]
pub fn release(work: &mut Work) {
    // SAFETY: a plain store; only the owner releases.
    unsafe { (&raw mut work.claimed).write_volatile(0) };
}
