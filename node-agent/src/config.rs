//! What the agent should collect: what a source of profiles hands over, and the standalone source, which is files.
//!
//! * [`Files`]: reads the files, keeps the last good plan of whatever is bad, counts generations.
//! * [`watch`]: says when to read again.
//! * [`expiry`]: says when a plan ends by itself, and which have.
//! * [`check`]: the same reading, for `weir-agent check`.
//!
//! How a plan gets into the kernel is not decided here.

pub mod check;
pub mod error;
pub mod expiry;
pub mod files;
pub mod watch;

use std::fmt;

use weir_profile::Plan;
use weir_profile::api::{ConditionReason, LabelSelector};

pub use error::ConfigError;
pub use files::Files;

/// What the node should collect now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// One per profile, by name; each holds its sink. A profile that is not among them is deleted.
    pub plans: Vec<Plan>,
    /// What is wrong with the latest edit; where a profile is concerned, its last good plan stands in `plans`.
    pub errors: Vec<String>,
    /// Those of `errors` that concern one profile, as its status shows them.
    pub problems: Vec<Problem>,
}

/// Why a profile is not collected as its latest generation asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The profile's name.
    pub profile: String,
    /// Its UID.
    pub uid: String,
    /// The generation that is concerned; standalone, the last one that was accepted.
    pub generation: i64,
    /// The nodes that this generation asks for, by label; `None` is all, and also what cannot be told.
    pub nodes: Option<LabelSelector>,
    /// Why.
    pub reason: ConditionReason,
    /// The same for a human.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            profile,
            uid: _,
            generation,
            nodes: _,
            reason,
            message,
        } = self;
        write!(
            f,
            "CollectorProfile {profile:?}, generation {generation}: {}: {message}",
            reason.as_str()
        )
    }
}
