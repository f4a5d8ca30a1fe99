//! Paths from dentries: a bounded walk to the root, across mounts, stopping at the process's own root. A file that is in no
//! directory has its name as its path, with a slash in front: `/memfd:name`.
//!
//! `/proc/<pid>/exe` would need privileges that the agent does not have, and races with short processes.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use crate::address::bound;
use crate::globals::offset;
use crate::maps::SCRATCH;
use crate::scratch::{WALK_BYTES, Work};
use crate::task::{pointer, read_or_zero};

/// Components a path may have, each mount on its way being one more; a deeper one is cut at the front and marked.
const COMPONENTS: u32 = 32;

/// The front is missing, or all of it: what was walked must not be taken for the path.
const LOST: u64 = 1 << 32;

/// `PF_KTHREAD`.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// Walks the path of the executable of the buffer's `task` into the walk buffer of scratch level `level`, from its end. Returns
/// where it starts, with [`LOST`] if so. A kernel thread has none: nothing was walked then, and nothing is lost.
///
/// A global function of scalars: the verifier checks the walk once, not at each of its callers.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn walk_executable(level: u32) -> u64 {
    let mut start = WALK_BYTES as u64;
    let Some(work) = SCRATCH.get_ptr_mut(level) else {
        return start | LOST;
    };
    // SAFETY: a map value of this CPU, claimed by the caller.
    let task = unsafe { (&raw const (*work).task).read_volatile() } as *const u8;
    let file = pointer(pointer(task, offset!(task_mm)), offset!(mm_exe_file));
    if file.is_null() {
        // Before Linux 6.16 a process has lost its memory, and with it its executable, when its end is told.
        return if read_or_zero::<u32>(task, offset!(task_flags)) & KERNEL_THREAD != 0 {
            start
        } else {
            start | LOST
        };
    }
    let path = file.wrapping_add(offset!(file_path));
    let root = pointer(task, offset!(task_fs)).wrapping_add(offset!(fs_root));
    let mut dentry = pointer(path, offset!(path_dentry));
    let mut vfsmount = pointer(path, offset!(path_mnt));
    let root_dentry = pointer(root, offset!(path_dentry));
    let root_mnt = pointer(root, offset!(path_mnt));
    if root_dentry.is_null() || root_mnt.is_null() {
        return start | LOST;
    }
    for _ in 0..COMPONENTS {
        // What cannot be read is zero: the walk has lost its way, and must not take that for the root.
        if dentry.is_null() || vfsmount.is_null() {
            return start | LOST;
        }
        if dentry == root_dentry && vfsmount == root_mnt {
            return start;
        }
        let parent = pointer(dentry, offset!(dentry_parent));
        let top = pointer(vfsmount, offset!(vfsmount_root));
        // A file in no directory, as memfd_create(2) makes one: its name is all there is, and no mount's root has it.
        let alone = start == WALK_BYTES as u64 && dentry == parent && dentry != top;
        if !alone && (dentry == parent || dentry == top) {
            let mount = vfsmount.wrapping_sub(offset!(mount_mnt));
            let above = pointer(mount, offset!(mount_parent));
            if above == mount {
                return start;
            }
            if above.is_null() {
                return start | LOST;
            }
            dentry = pointer(mount, offset!(mount_mountpoint));
            vfsmount = above.wrapping_add(offset!(mount_mnt));
            continue;
        }
        let name = dentry.wrapping_add(offset!(dentry_name));
        let len = bound::<0xff>(u64::from(read_or_zero::<u32>(name, offset!(qstr_len))));
        if len == 0 || start < len + 1 {
            return start | LOST;
        }
        let text = pointer(name, offset!(qstr_name));
        let at = bound::<{ WALK_BYTES as u64 - 1 }>(start - len);
        let slash = bound::<{ WALK_BYTES as u64 - 1 }>(start - len - 1);
        // SAFETY: `at` is below WALK_BYTES and a component below 256 bytes, inside the buffer's slack.
        let read = unsafe {
            let walk = (&raw mut (*work).walk).cast::<u8>();
            walk.add(slash as usize).write_volatile(b'/');
            bpf_probe_read_kernel(walk.add(at as usize).cast(), len as u32, text.cast())
        };
        if read != 0 {
            return start | LOST;
        }
        start = slash;
        dentry = parent;
    }
    if dentry == root_dentry && vfsmount == root_mnt {
        return start;
    }
    start | LOST
}

/// What was walked of an executable's path.
pub struct Walked {
    /// Its length without the NUL; 0 for a kernel thread, and where nothing could be read.
    pub len: u64,
    /// Bytes are missing, at the front or at the end.
    pub cut: bool,
    /// The front is missing, or all of it, though there is an executable: it cannot be matched. What misses its end only
    /// can: no entry is that long.
    pub lost: bool,
}

/// Writes the task's executable, NUL-terminated, to `to` (512 bytes).
#[inline(always)]
pub fn executable(work: &mut Work, task: *const u8, to: *mut u8) -> Walked {
    // Through memory: a typed pointer is no scalar, and a global function takes scalars only.
    // SAFETY: the claimed buffer.
    unsafe { (&raw mut work.task).write_volatile(task as u64) };
    let walked = walk_executable(work.level);
    let start = bound::<{ 2 * WALK_BYTES as u64 - 1 }>(walked);
    let whole = if start > WALK_BYTES as u64 {
        0
    } else {
        WALK_BYTES as u64 - start
    };
    let len = bound::<511>(if whole > 511 { 511 } else { whole });
    // SAFETY: source and destination have the bytes; both are checked by the verifier.
    unsafe {
        let from = (&raw const work.walk)
            .cast::<u8>()
            .add(bound::<{ WALK_BYTES as u64 - 1 }>(start) as usize);
        bpf_probe_read_kernel(to.cast(), len as u32, from.cast());
        to.add(bound::<511>(len) as usize).write_volatile(0);
    }
    let lost = walked & LOST != 0;
    Walked {
        len,
        cut: lost && len != 0 || whole > 511,
        lost,
    }
}
