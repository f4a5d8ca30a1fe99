//! Where in the version 2 hierarchy the agent itself is, and where its node begins.

use crate::shared;

/// Cgroups from the agent's own to the hierarchy's root at most. A pod of a node that is a container has about ten.
pub const ANCESTORS: u32 = 32;
/// Longest name of a cgroup with its NUL: it is a file's name.
pub const NAME_BYTES: usize = 256;

shared! {
    /// The agent's own cgroup, or one above it.
    pub struct Ancestor = 264 {
        /// Its id; 0 where there is none.
        pub id: u64,
        /// Its name, NUL padded; empty for the hierarchy's root.
        pub name: [u8; NAME_BYTES],
    }
}

shared! {
    /// The cgroup in which all of this node's are.
    pub struct NodeRoot = 16 {
        /// Its id.
        pub id: u64,
        /// How many cgroups are above it; with none, every cgroup is this node's.
        pub level: u32,
        /// Zero.
        pub reserved: u32,
    }
}
