//! Everything that touches the kernel: loading, attaching, maps, rings.

pub mod btf;
pub mod hook;
pub mod object;
pub mod ring;
pub mod tracefs;
