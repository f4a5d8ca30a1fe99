//! What the agent should collect, standalone: profile files become plans, and edits become new plans.
//!
//! * [`Files`]: reads the files, keeps the last good plan of whatever is bad, counts generations.
//! * [`watch`]: says when to read again.
//! * [`expiry`]: says when a plan ends by itself.
//! * [`check`]: the same reading, for `weir-agent check`.
//!
//! How a plan gets into the kernel is not decided here.

pub mod check;
pub mod error;
pub mod expiry;
pub mod files;
pub mod watch;

use weir_profile::Plan;

pub use error::ConfigError;
pub use files::Files;

/// What the node should collect now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// One per profile, by name; each holds its sink. A profile that is not among them is deleted.
    pub plans: Vec<Plan>,
    /// What is wrong with the latest edit; where a profile is concerned, its last good plan stands in `plans`.
    pub errors: Vec<String>,
}
