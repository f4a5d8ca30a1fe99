//! Records as they stand in the rings: a fixed header, a fixed part per kind, and a bounded tail.

use crate::shared;

/// Longest path kept, with its NUL, in bytes. Longer ones are cut and marked.
pub const PATH_BYTES: usize = 512;
/// Longest argument vector kept, in bytes, each argument ending in NUL. Longer ones are cut and marked.
pub const ARGS_BYTES: usize = 1024;
/// Longest cgroup path kept, in bytes.
pub const CGROUP_PATH_BYTES: usize = 512;

/// Header flag: the path or exe was longer than [`PATH_BYTES`].
pub const FLAG_PATH_TRUNCATED: u16 = 1;
/// Header flag: the arguments were longer than [`ARGS_BYTES`].
pub const FLAG_ARGS_TRUNCATED: u16 = 2;
/// Header flag: the path could not be read from the program's memory.
pub const FLAG_PATH_UNREADABLE: u16 = 4;
/// Header flag: the record is (also) for the agent's process table.
pub const FLAG_TABLE: u16 = 8;

/// Latency is not known.
pub const LATENCY_UNKNOWN: u64 = u64::MAX;

shared! {
    /// Leads every record.
    pub struct Header = 80 {
        /// One of [`crate::kind`].
        pub kind: u8,
        /// The counter set that counts this record.
        pub lane: u8,
        /// `FLAG_*`.
        pub flags: u16,
        /// The configuration that admitted it.
        pub config_id: u32,
        /// The admitting slots of the kind, by bit.
        pub slots: u64,
        /// Boot time, ns (`bpf_ktime_get_boot_ns`).
        pub boot_ns: u64,
        /// cgroup v2 id of the task.
        pub cgroup_id: u64,
        /// Process id in the initial namespace.
        pub tgid: u32,
        /// Thread id in the initial namespace.
        pub tid: u32,
        /// Parent's process id in the initial namespace.
        pub ppid: u32,
        /// Real user id in the initial namespace.
        pub uid: u32,
        /// Real group id in the initial namespace.
        pub gid: u32,
        /// Pod index of the scope entry, 0 where unknown.
        pub pod_index: u32,
        /// Start of the process, boot time, ns.
        pub start_ns: u64,
        /// Task name, NUL padded.
        pub comm: [u8; 16],
    }
}

shared! {
    /// Fixed part of `process.exec`; the tail is exe (`exe_len` bytes) then arguments (`args_len` bytes).
    pub struct Exec = 8 {
        /// Length of the executable's path, without NUL.
        pub exe_len: u16,
        /// Length of the arguments with their NULs.
        pub args_len: u16,
        /// Zero.
        pub reserved: u32,
    }
}

shared! {
    /// Fixed part of `process.exit`.
    pub struct Exit = 16 {
        /// Wait status as the kernel keeps it: code << 8 | core flag | signal.
        pub status: u32,
        /// Zero.
        pub reserved: u32,
        /// Life of the process, ns.
        pub duration_ns: u64,
    }
}

shared! {
    /// Fixed part of `net.connect`.
    pub struct Connect = 56 {
        /// 0 or a negative errno.
        pub result: i32,
        /// Address family, `AF_INET` 2 or `AF_INET6` 10.
        pub family: u16,
        /// IP protocol number, 0 where unknown.
        pub protocol: u16,
        /// Destination port, host order.
        pub destination_port: u16,
        /// Source port, host order, 0 where unknown.
        pub source_port: u16,
        /// Zero.
        pub reserved: u32,
        /// From SYN sent to the outcome, ns, or [`LATENCY_UNKNOWN`].
        pub latency_ns: u64,
        /// Destination; IPv4 in the first four bytes.
        pub destination: [u8; 16],
        /// Source; IPv4 in the first four bytes, zero where unknown.
        pub source: [u8; 16],
    }
}

shared! {
    /// Fixed part of `file.open`; the tail is the path (`path_len` bytes).
    ///
    /// The last eight bytes of this struct are overlaid by a trie key's head while the kernel side looks
    /// the path up, so that the path need not be copied.
    pub struct Open = 16 {
        /// 0 or more: the descriptor; negative: errno.
        pub result: i32,
        /// Open flags as passed.
        pub flags: u32,
        /// Length of the path, without NUL.
        pub path_len: u16,
        /// Zero.
        pub reserved: u16,
        /// Mode as passed, for `O_CREAT`.
        pub mode: u32,
    }
}

shared! {
    /// Fixed part of the cgroup control records; the tail is the path (`path_len` bytes) from the v2 root.
    pub struct Cgroup = 16 {
        /// The cgroup made or removed.
        pub id: u64,
        /// Length of the path, without NUL.
        pub path_len: u16,
        /// Zero.
        pub reserved: [u16; 3],
    }
}

shared! {
    /// One process, as the seeding iterator writes it; followed by `exe_len` bytes of path.
    pub struct Seed = 56 {
        /// Process id in the initial namespace.
        pub tgid: u32,
        /// Parent's.
        pub ppid: u32,
        /// Start, boot time, ns.
        pub start_ns: u64,
        /// Length of the executable's path; 0 for kernel threads.
        pub exe_len: u32,
        /// `FLAG_PATH_TRUNCATED` or 0.
        pub flags: u32,
        /// Task name, NUL padded.
        pub comm: [u8; 16],
        /// Process id, in the initial namespace, of the reader: how the agent learns its own.
        pub reader: u32,
        /// Zero.
        pub reserved: u32,
        /// Zero.
        pub reserved2: u64,
    }
}
