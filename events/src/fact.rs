//! Names that Linux and IANA give to numbers in events.

pub(crate) mod errno;
pub(crate) mod network;
pub(crate) mod open;
pub(crate) mod signal;
