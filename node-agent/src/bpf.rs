//! Everything that touches the kernel: loading, attaching, maps, rings.

pub mod btf;
mod grace;
pub mod hook;
pub mod image;
pub mod kernel;
pub mod maps;
mod missed;
pub mod object;
pub mod ring;
pub mod seed;
pub mod tracefs;
