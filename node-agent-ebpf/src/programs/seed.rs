//! The processes that were there before us, and who we are ourselves.
//!
//! An iterator over tasks, read once at start by the agent. It runs in the reader's context, so that the
//! reader's process id in the initial namespace is the agent's own, whatever namespace it lives in; and so for its
//! cgroup's path, which a cgroup namespace hides.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_seq_write};
use weir_node_agent_common::cgroup::{ANCESTORS, NAME_BYTES};
use weir_node_agent_common::record::{FLAG_PATH_TRUNCATED, PATH_BYTES, Seed};

use crate::address::bound;
use crate::globals::offset;
use crate::maps::{OWN_CGROUP, SELF};
use crate::path;
use crate::scratch::{claim, release};
use crate::task::{self, pointer, read_or_zero};

/// `struct bpf_iter__task`.
#[repr(C)]
struct Context {
    meta: *const Meta,
    task: *const u8,
}

/// `struct bpf_iter_meta`.
#[repr(C)]
struct Meta {
    seq: *mut c_void,
    session_id: u64,
    seq_num: u64,
}

/// `iter/task`: writes one [`Seed`] and its path per process.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn process_seed(ctx: *mut c_void) -> i32 {
    // SAFETY: the iterator's context; typed pointers that the verifier follows.
    let (meta, task) = unsafe {
        let context = ctx.cast::<Context>();
        ((*context).meta, (*context).task)
    };
    let reader = (bpf_get_current_pid_tgid() >> 32) as u32;
    if SELF.get(0).copied() != Some(reader) {
        own_cgroup();
        if let Some(own) = SELF.get_ptr_mut(0) {
            // SAFETY: a map value.
            unsafe { own.write_volatile(reader) };
        }
    }
    if task.is_null() || pointer(task, offset!(task_group_leader)) != task {
        return 0;
    }
    let Some(work) = claim() else { return 0 };
    let to = work.at(size_of::<Seed>());
    let exe = path::executable(work, task, to);
    let exe_len = bound::<511>(exe.len);
    let seed = Seed {
        tgid: read_or_zero(task, offset!(task_tgid)),
        ppid: task::ppid(task),
        start_ns: read_or_zero(task, offset!(task_start_boottime)),
        exe_len: exe_len as u32,
        flags: if exe.cut {
            u32::from(FLAG_PATH_TRUNCATED)
        } else {
            0
        },
        comm: read_or_zero(task, offset!(task_comm)),
        reader,
        reserved: 0,
        reserved2: 0,
    };
    // SAFETY: the record buffer is larger than a seed and its path; `seq` is the iterator's own.
    unsafe {
        work.at(0).cast::<Seed>().write(seed);
        let len = size_of::<Seed>() as u64 + exe_len;
        const LONGEST: u64 = (size_of::<Seed>() + PATH_BYTES) as u64;
        bpf_seq_write(
            (*meta).seq.cast(),
            work.at(0).cast(),
            if len > LONGEST { LONGEST as u32 } else { len as u32 },
        );
    }
    release(work);
    0
}

/// Notes the reader's cgroup and those above it, up to the hierarchy's root.
#[inline(always)]
fn own_cgroup() {
    let set = pointer(task::current(), offset!(task_cgroups));
    let mut node = pointer(pointer(set, offset!(css_set_cgroup)), offset!(cgroup_kn));
    for level in 0..ANCESTORS {
        let Some(ancestor) = OWN_CGROUP.get_ptr_mut(level) else {
            return;
        };
        if node.is_null() {
            return;
        }
        // SAFETY: a map value that only this program writes, once; the helper writes at most the name's bytes.
        unsafe {
            (*ancestor).id = read_or_zero(node, offset!(kernfs_id));
            bpf_probe_read_kernel_str(
                (&raw mut (*ancestor).name).cast(),
                NAME_BYTES as u32,
                pointer(node, offset!(kernfs_name)).cast(),
            );
        }
        node = pointer(node, offset!(kernfs_parent));
    }
}
