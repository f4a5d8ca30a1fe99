//! The fixed set of programs: what each hangs on, and which kinds are lost without it.

use weir_node_agent_common::hook;
use weir_profile::EventKind;

/// What a program hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// A tracepoint with typed arguments (`tp_btf`).
    Typed(&'static str),
    /// A tracepoint of tracefs.
    Classic(&'static str, &'static str),
}

/// When a program must run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// While any profile is active: it feeds attribution.
    Always,
    /// While a slot of the kind exists.
    For(EventKind),
}

/// Why one hook cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookError {
    /// The kernel has no such tracepoint.
    #[error("this kernel has no {0} tracepoint")]
    NoTracepoint(&'static str),
    /// tracefs cannot be read.
    #[error("tracefs is not readable at {0}: mount it (mount -t tracefs tracefs /sys/kernel/tracing)")]
    NoTracefs(String),
    /// Kernel fields that the program reads do not exist.
    #[error("this kernel lacks the fields {0}")]
    MissingFields(String),
    /// The kernel refused the program.
    #[error("the kernel refused the program: {0}")]
    Refused(String),
    /// Missing privileges.
    #[error("no permission: the capabilities BPF and PERFMON are needed")]
    Permission,
    /// Attaching failed.
    #[error("cannot attach: {0}")]
    Attach(String),
}

impl HookError {
    /// A bounded label.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoTracepoint(_) => "NoTracepoint",
            Self::NoTracefs(_) => "TracefsMissing",
            Self::MissingFields(_) => "KernelFieldsMissing",
            Self::Refused(_) => "ProgramRefused",
            Self::Permission => "CapabilityMissing",
            Self::Attach(_) => "AttachFailed",
        }
    }
}

/// One program of the object.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// Number in the kernel's counters.
    pub number: u32,
    /// The program's name in the object.
    pub program: &'static str,
    /// Its place.
    pub attach: Attach,
    /// When it runs.
    pub needed: Needed,
    /// The kind that it serves, if any.
    pub kind: Option<EventKind>,
    /// The kernel fields it reads, by how their names in `Offsets` begin.
    pub fields: &'static [&'static [&'static str]],
    /// Whether the kind is lost without this hook; otherwise the kind goes on with less coverage.
    pub essential: bool,
}

impl Hook {
    /// The name that status, metrics and the ledger use.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self.attach {
            Attach::Typed(name) | Attach::Classic(_, name) => name,
        }
    }

    /// How it is attached, for people.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self.attach {
            Attach::Typed(_) => "tp_btf",
            Attach::Classic(..) => "tracepoint",
        }
    }
}

/// What the identity of a task and the walk to its executable read.
const TASK: &[&str] = &[
    "task_",
    "cred_",
    "css_set_",
    "cgroup_kn",
    "kernfs_id",
    "mm_",
    "file_path",
    "path_",
    "dentry_",
    "qstr_",
    "vfsmount_",
    "mount_",
    "fs_",
];
/// What tells how a process ended.
const EXIT: &[&str] = &["signal_"];
/// What leads from a descriptor to its socket.
const SOCKET: &[&str] = &[
    "file_private",
    "file_flags",
    "files_",
    "fdtable_",
    "socket_",
    "sock_",
];
/// What names a cgroup.
const CGROUP: &[&str] = &["cgroup_", "kernfs_id", "root_"];

/// Every hook there is.
pub const HOOKS: [Hook; hook::COUNT as usize] = [
    typed(
        hook::PROCESS_EXEC,
        "process_exec",
        "sched_process_exec",
        Some(EventKind::ProcessExec),
        &[TASK],
    ),
    typed(
        hook::PROCESS_EXIT,
        "process_exit",
        "sched_process_exit",
        Some(EventKind::ProcessExit),
        &[TASK, EXIT],
    ),
    syscall(
        hook::CONNECT,
        "net_connect",
        "sys_exit_connect",
        EventKind::NetConnect,
        true,
        &[TASK, SOCKET],
    ),
    Hook {
        number: hook::SOCK_STATE,
        program: "net_state",
        attach: Attach::Typed("inet_sock_set_state"),
        needed: Needed::For(EventKind::NetConnect),
        kind: Some(EventKind::NetConnect),
        fields: &[TASK, SOCKET],
        essential: true,
    },
    syscall(
        hook::OPENAT,
        "file_openat",
        "sys_exit_openat",
        EventKind::FileOpen,
        true,
        &[TASK],
    ),
    syscall(
        hook::OPEN,
        "file_open",
        "sys_exit_open",
        EventKind::FileOpen,
        false,
        &[TASK],
    ),
    syscall(
        hook::OPENAT2,
        "file_openat2",
        "sys_exit_openat2",
        EventKind::FileOpen,
        false,
        &[TASK],
    ),
    syscall(
        hook::CREAT,
        "file_creat",
        "sys_exit_creat",
        EventKind::FileOpen,
        false,
        &[TASK],
    ),
    typed(
        hook::CGROUP_MKDIR,
        "cgroup_mkdir",
        "cgroup_mkdir",
        None,
        &[CGROUP],
    ),
    typed(
        hook::CGROUP_RMDIR,
        "cgroup_rmdir",
        "cgroup_rmdir",
        None,
        &[CGROUP],
    ),
];

const fn typed(
    number: u32,
    program: &'static str,
    name: &'static str,
    kind: Option<EventKind>,
    fields: &'static [&'static [&'static str]],
) -> Hook {
    Hook {
        number,
        program,
        attach: Attach::Typed(name),
        needed: Needed::Always,
        kind,
        fields,
        essential: true,
    }
}

const fn syscall(
    number: u32,
    program: &'static str,
    name: &'static str,
    kind: EventKind,
    essential: bool,
    fields: &'static [&'static [&'static str]],
) -> Hook {
    let attach = Attach::Classic("syscalls", name);
    Hook {
        number,
        program,
        attach,
        needed: Needed::For(kind),
        kind: Some(kind),
        fields,
        essential,
    }
}
