//! The operator: profiles and sinks into one `DaemonSet` and truthful status.
//!
//! Watches fill stores and the rollup's index, and name what needs a visit; three controllers visit. Everything that
//! decides is pure and tested without an API server.

pub mod args;
pub mod budget;
pub mod context;
pub mod controller;
pub mod crds;
pub mod diff;
pub mod dirty;
pub mod election;
pub mod eligibility;
pub mod error;
pub mod event;
pub mod metrics;
pub mod names;
pub mod retry;
pub mod rollup;
pub mod run;
pub mod settings;
pub mod stream;
pub mod trouble;
pub mod watch;
pub mod write;
