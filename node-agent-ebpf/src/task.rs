//! Who did it: identity of the current task, and of a task whose connect is under way.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_ktime_get_boot_ns, bpf_probe_read_kernel,
    bpf_task_pt_regs,
};
use weir_node_agent_common::comm::trimmed;
use weir_node_agent_common::record::Header;

use crate::globals::offset;
use crate::matching::Listed;
use crate::visit::Visit;

/// Reads a value of the kernel's memory, zero when it can't be read (the helper zeroes it then). Without a
/// branch: the verifier follows both ways of each.
#[inline(always)]
pub fn read_or_zero<T: Copy + Default>(base: *const u8, offset: usize) -> T {
    let mut value = T::default();
    // SAFETY: the helper writes the whole value.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            base.wrapping_add(offset).cast(),
        );
    }
    value
}

/// Reads a pointer, null when it can't be read.
#[inline(always)]
pub fn pointer(base: *const u8, offset: usize) -> *const u8 {
    read_or_zero::<u64>(base, offset) as *const u8
}

/// A kernel structure that the verifier knows the type of: its fields are plain loads, which cost a tenth of a
/// helper's call and yield zero where there is no memory. Only fields of [`Offsets`] at constant places can be read.
///
/// [`Offsets`]: weir_node_agent_common::offset::Offsets
#[derive(Clone, Copy)]
pub struct Typed(*const u8);

impl Typed {
    /// The current `task_struct`.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: helper without arguments.
        Self(unsafe { bpf_get_current_task_btf() } as *const u8)
    }

    /// The registers of a task at its entry into the kernel.
    #[inline(always)]
    pub fn registers(self) -> Self {
        // SAFETY: `self` is a task.
        Self(unsafe { bpf_task_pt_regs(self.0.cast_mut().cast()) } as *const u8)
    }

    /// A field. Volatile, so that no load is moved before the check of its pointer.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the verifier checks that the structure has such a field there.
        unsafe { self.0.add(offset).cast::<T>().read_volatile() }
    }

    /// The structure that a field points to.
    #[inline(always)]
    pub fn follow(self, offset: usize) -> Option<Self> {
        let to = Self(self.read::<*const u8>(offset));
        if to.0.is_null() { None } else { Some(to) }
    }

    /// Process id and, below it, thread id, in the initial namespace.
    #[inline(always)]
    pub fn pid_tgid(self) -> u64 {
        u64::from(self.read::<u32>(offset!(task_tgid))) << 32 | u64::from(self.read::<u32>(offset!(task_pid)))
    }

    /// Id of the task's cgroup in the version 2 hierarchy.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        let Some(set) = self.follow(offset!(task_cgroups)) else {
            return 0;
        };
        let Some(cgroup) = set.follow(offset!(css_set_cgroup)) else {
            return 0;
        };
        let Some(node) = cgroup.follow(offset!(cgroup_kn)) else {
            return 0;
        };
        node.read(offset!(kernfs_id))
    }

    /// User id, in the initial namespace.
    #[inline(always)]
    pub fn uid(self) -> u32 {
        let Some(cred) = self.follow(offset!(task_cred)) else {
            return 0;
        };
        cred.read(offset!(cred_uid))
    }

    /// Group id and, below it, user id, in the initial namespace.
    #[inline(always)]
    pub fn uid_gid(self) -> u64 {
        let Some(cred) = self.follow(offset!(task_cred)) else {
            return 0;
        };
        u64::from(cred.read::<u32>(offset!(cred_gid))) << 32 | u64::from(cred.read::<u32>(offset!(cred_uid)))
    }

    /// Start of the task's process, boot time.
    #[inline(always)]
    pub fn start_ns(self) -> u64 {
        let Some(leader) = self.follow(offset!(task_group_leader)) else {
            return 0;
        };
        leader.read(offset!(task_start_boottime))
    }

    /// Process id of the task's parent.
    #[inline(always)]
    pub fn ppid(self) -> u32 {
        let Some(parent) = self.follow(offset!(task_real_parent)) else {
            return 0;
        };
        parent.read(offset!(task_tgid))
    }

    /// The task's name.
    #[inline(always)]
    pub fn comm(self) -> [u64; 2] {
        let at = offset!(task_comm);
        trimmed([self.read(at), self.read(at + 8)])
    }
}

/// The current `task_struct`, as a plain number: read with helpers, it may be kept in a map.
#[inline(always)]
pub fn current() -> *const u8 {
    // SAFETY: helper without arguments.
    unsafe { bpf_get_current_task() as *const u8 }
}

/// Boot time in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Start of the task's process, boot time.
#[inline(always)]
pub fn start_ns(task: *const u8) -> u64 {
    read_or_zero(
        pointer(task, offset!(task_group_leader)),
        offset!(task_start_boottime),
    )
}

/// Process id of the task's parent.
#[inline(always)]
pub fn ppid(task: *const u8) -> u32 {
    read_or_zero(pointer(task, offset!(task_real_parent)), offset!(task_tgid))
}

/// Somebody that a slot's match may ask about.
pub trait Who {
    /// The task's name.
    fn comm(&self) -> [u64; 2];
    /// User id, in the initial namespace.
    fn uid(&self) -> u32;
}

impl Who for Typed {
    #[inline(always)]
    fn comm(&self) -> [u64; 2] {
        Self::comm(*self)
    }

    #[inline(always)]
    fn uid(&self) -> u32 {
        Self::uid(*self)
    }
}

impl Who for Identity {
    #[inline(always)]
    fn comm(&self) -> [u64; 2] {
        self.comm
    }

    #[inline(always)]
    fn uid(&self) -> u32 {
        self.uid_gid as u32
    }
}

/// The identity that every record's header carries, where it must be kept.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Identity {
    pub pid_tgid: u64,
    pub cgroup_id: u64,
    pub uid_gid: u64,
    pub start_ns: u64,
    pub ppid: u32,
    pub pod_index: u32,
    pub comm: [u64; 2],
}

impl Identity {
    /// Becomes the current task's. Written in place: the stack has 512 bytes for everything.
    #[inline(always)]
    pub fn fill(&mut self, visit: &Visit) {
        let task = visit.task;
        self.pid_tgid = visit.pid_tgid;
        self.cgroup_id = visit.cgroup_id;
        self.uid_gid = task.uid_gid();
        self.start_ns = task.start_ns();
        self.ppid = task.ppid();
        self.pod_index = visit.workload as u32;
        self.comm = task.comm();
    }

    /// Fills a record's header.
    #[inline(always)]
    pub fn write(&self, visit: &Visit, header: &mut Header, kind: u8, flags: u16, slots: u64, boot_ns: u64) {
        head(visit, header, kind, flags, slots, boot_ns);
        header.cgroup_id = self.cgroup_id;
        header.tgid = (self.pid_tgid >> 32) as u32;
        header.tid = self.pid_tgid as u32;
        header.ppid = self.ppid;
        header.uid = self.uid_gid as u32;
        header.gid = (self.uid_gid >> 32) as u32;
        header.pod_index = self.pod_index;
        header.start_ns = self.start_ns;
        // SAFETY: sixteen plain bytes.
        header.comm = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(self.comm) };
    }
}

/// Fills a record's header for the task that runs now. In place: nothing is kept and copied.
#[inline(always)]
pub fn write_current(visit: &Visit, header: &mut Header, kind: u8, flags: u16, slots: u64, boot_ns: u64) {
    let task = visit.task;
    head(visit, header, kind, flags, slots, boot_ns);
    header.cgroup_id = visit.cgroup_id;
    header.tgid = visit.tgid();
    header.tid = visit.pid_tgid as u32;
    header.ppid = task.ppid();
    let uid_gid = task.uid_gid();
    header.uid = uid_gid as u32;
    header.gid = (uid_gid >> 32) as u32;
    header.pod_index = visit.workload as u32;
    header.start_ns = task.start_ns();
    // SAFETY: sixteen plain bytes.
    header.comm = unsafe { core::mem::transmute::<[u64; 2], [u8; 16]>(task.comm()) };
}

/// What a header says besides who it was.
#[inline(always)]
fn head(visit: &Visit, header: &mut Header, kind: u8, flags: u16, slots: u64, boot_ns: u64) {
    header.kind = kind;
    header.lane = visit.active.lane() as u8;
    header.flags = flags;
    header.config_id = visit.active.config_id();
    header.slots = slots;
    header.boot_ns = boot_ns;
}

/// A connect under way: who began it and how far it is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pending {
    /// `PENDING_*`; whoever loses the compare-and-swap emits.
    pub state: u32,
    /// Negative errno or 0, once done.
    pub result: i32,
    pub begun_ns: u64,
    pub done_ns: u64,
    /// 1 once a signal made the kernel restart the system call.
    pub restarted: u32,
    /// The configuration for which `binaries` was looked up.
    pub config_id: u32,
    /// Slots that list the executable of who began it, and whether it is known.
    pub binaries: Listed,
    pub who: Identity,
}

/// The SYN was sent.
pub const PENDING_SENT: u32 = 0;
/// The system call returned EINPROGRESS: the state change emits.
pub const PENDING_ARMED: u32 = 1;
/// The socket's state changed first: the system call's exit emits.
pub const PENDING_DONE: u32 = 2;
/// The event was written; the restarted system call's exit must not write it again.
pub const PENDING_TOLD: u32 = 3;
