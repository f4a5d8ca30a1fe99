//! Numbers of the hooks and of what is counted per hook.

/// `sched_process_exec`.
pub const PROCESS_EXEC: u32 = 0;
/// `sched_process_exit`.
pub const PROCESS_EXIT: u32 = 1;
/// `sys_exit_connect`.
pub const CONNECT: u32 = 2;
/// `inet_sock_set_state`.
pub const SOCK_STATE: u32 = 3;
/// `sys_exit_openat`.
pub const OPENAT: u32 = 4;
/// `sys_exit_open`.
pub const OPEN: u32 = 5;
/// `sys_exit_openat2`.
pub const OPENAT2: u32 = 6;
/// `sys_exit_creat`.
pub const CREAT: u32 = 7;
/// `cgroup_mkdir`.
pub const CGROUP_MKDIR: u32 = 8;
/// `cgroup_rmdir`.
pub const CGROUP_RMDIR: u32 = 9;
/// Number of hooks there are.
pub const COUNT: u32 = 10;
/// Room for hooks in the counter map.
pub const MAX_HOOKS: u32 = 32;

/// Occurrences of the agent itself or of another node's cgroups.
pub const EXCLUDED: u32 = 0;
/// A socket state change whose task could not be told.
pub const UNTRACKED: u32 = 1;
/// No scratch buffer was free on this CPU.
pub const ERROR_SCRATCH: u32 = 2;
/// A configuration map had no entry where one must be.
pub const ERROR_CONFIG: u32 = 3;
/// The kernel's memory could not be read.
pub const ERROR_READ: u32 = 4;
/// Records for the process table that were written.
pub const TABLE_RINGED: u32 = 5;
/// Records for the process table that found the ring full.
pub const TABLE_RING_FULL: u32 = 6;
/// Control records that found the control ring full.
pub const CONTROL_RING_FULL: u32 = 7;
/// Counters per hook.
pub const COUNTERS: usize = 8;
