//! Rolls nodes, agents' pods and `CollectorNode`s up into the status of one profile.
//!
//! Pure: time is passed in, nothing is written. [`Index`] holds the last word of every node, whatever the order in which
//! it came; [`Index::tally`] counts it for one profile; [`status::status`] turns the counts into what `kubectl` shows.

mod classify;
pub(crate) mod conditions;
mod index;
mod ladder;
mod problems;
pub mod status;
mod tally;

#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use classify::NodeVerdict;
pub use index::{AgentPod, Index, NodeFacts, Report, SILENT_SECONDS, Touched};
pub use ladder::{fleet_size, on_ladder};
pub use status::{MAX_STATUS_BYTES, Verdict, status};
pub use tally::{Subject, Tally};
