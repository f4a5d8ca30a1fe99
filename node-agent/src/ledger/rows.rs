//! What a row stands for.

/// A (profile, event) of one kind and its slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowInfo {
    /// The profile's name.
    pub profile: String,
    /// The profile's UID.
    pub uid: String,
    /// Its generation in the kernel.
    pub generation: u64,
    /// Its plan's digest.
    pub digest: String,
    /// The event's name in the profile.
    pub event: String,
    /// The kind's name.
    pub kind: &'static str,
    /// The slot that the kernel counts it in.
    pub slot: u16,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it stands for.
    pub info: RowInfo,
    /// The slot is still its own.
    pub live: bool,
}

impl Row {
    pub(super) const fn new(info: RowInfo) -> Self {
        Self { info, live: true }
    }
}
