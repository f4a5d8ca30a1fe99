//! Numbers of the record kinds, as the kernel writes them.

/// `process.exec`.
pub const PROCESS_EXEC: u8 = 0;
/// `process.exit`.
pub const PROCESS_EXIT: u8 = 1;
/// `net.connect`.
pub const NET_CONNECT: u8 = 2;
/// `file.open`.
pub const FILE_OPEN: u8 = 3;

/// Room for event kinds in the per-kind maps.
pub const MAX_KINDS: u32 = 32;

/// Control record: a cgroup was made.
pub const CGROUP_MKDIR: u8 = 0x80;
/// Control record: a cgroup was removed.
pub const CGROUP_RMDIR: u8 = 0x81;
