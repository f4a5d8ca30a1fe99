//! Life of cgroups, so that a container is known before its first process acts. Control ring only.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use aya_ebpf::macros::btf_tracepoint;
use aya_ebpf::programs::BtfTracePointContext;
use weir_node_agent_common::record::{CGROUP_PATH_BYTES, Cgroup, FLAG_PATH_TRUNCATED, Header};
use weir_node_agent_common::{hook, kind};

use crate::address::bound;
use crate::emit::{control, count_hook};
use crate::globals::offset;
use crate::scratch::{claim, release};
use crate::task::{self, pointer, read_or_zero};

const TAIL: usize = size_of::<Header>() + size_of::<Cgroup>();

/// `cgroup_mkdir(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, hook::CGROUP_MKDIR, kind::CGROUP_MKDIR)
}

/// `cgroup_rmdir(struct cgroup *cgrp, const char *path)`.
#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    changed(&ctx, hook::CGROUP_RMDIR, kind::CGROUP_RMDIR)
}

#[inline(always)]
fn changed(ctx: &BtfTracePointContext, hook: u32, kind: u8) -> i32 {
    let words = ctx.as_ptr().cast::<u64>();
    // SAFETY: the prototypes above.
    let (cgroup, path) = unsafe { (*words as *const u8, *words.add(1)) };
    // Hierarchy 0 is version 2; the version 1 hierarchies have their own directories and ids.
    if read_or_zero::<u32>(pointer(cgroup, offset!(cgroup_root)), offset!(root_hierarchy)) != 0 {
        return 0;
    }
    let Some(work) = claim() else {
        count_hook(hook, hook::ERROR_SCRATCH);
        return 0;
    };
    let id: u64 = read_or_zero(pointer(cgroup, offset!(cgroup_kn)), offset!(kernfs_id));
    // SAFETY: the tail has CGROUP_PATH_BYTES.
    let read = unsafe {
        bpf_probe_read_kernel_str(work.at(TAIL).cast(), CGROUP_PATH_BYTES as u32, path as *const _)
    };
    if read <= 0 {
        count_hook(hook, hook::ERROR_READ);
        release(work);
        return 0;
    }
    let path_len = bound::<511>(read as u64 - 1);
    *work.header() = Header {
        kind,
        lane: 0,
        flags: if read as usize == CGROUP_PATH_BYTES {
            FLAG_PATH_TRUNCATED
        } else {
            0
        },
        config_id: 0,
        slots: 0,
        boot_ns: task::now(),
        cgroup_id: id,
        tgid: 0,
        tid: 0,
        ppid: 0,
        uid: 0,
        gid: 0,
        pod_index: 0,
        start_ns: 0,
        comm: [0; 16],
    };
    *work.fixed::<Cgroup>() = Cgroup {
        id,
        path_len: path_len as u16,
        reserved: [0; 3],
    };
    control(hook, work.at(0), TAIL as u64 + path_len);
    release(work);
    0
}
