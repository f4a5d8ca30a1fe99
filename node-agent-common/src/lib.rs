//! What the kernel side and the agent must agree on to the byte: records, map keys and values, outcomes.
//!
//! Everything here is `repr(C)` without padding, asserted on both sides of the boundary; nothing here does
//! I/O or knows a map's handle.
#![no_std]
#![allow(
    clippy::inline_always,
    reason = "the kernel side has 512 bytes of stack and a verifier that counts calls"
)]
#![allow(
    unsafe_code,
    reason = "this crate promises, by the `shared!` macro's assertions, that its structs are plain memory"
)]

pub mod cgroup;
pub mod comm;
pub mod config;
pub mod hook;
pub mod kind;
pub mod limit;
pub mod offset;
pub mod outcome;
pub mod record;

/// Declares a `repr(C)` struct and asserts its size, so that neither side can grow padding unnoticed.
#[macro_export]
macro_rules! shared {
    ($(#[$meta:meta])* pub struct $name:ident = $size:literal { $($(#[$field_meta:meta])* pub $field:ident: $ty:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            feature = "user",
            derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::KnownLayout)
        )]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }

        // SAFETY: `repr(C)`, no padding (asserted below), every bit pattern valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}

        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        // The fields add up to the size: no padding.
        const _: () = assert!(0 $(+ core::mem::size_of::<$ty>())* == $size);
    };
}
