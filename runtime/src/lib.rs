//! What every Weir binary shares: telemetry, admin server, readiness, supervision, shutdown, a sink's stream.
//!
//! Nothing here knows what an agent or an operator does; a binary wires these parts together in its `main`.

pub mod admin;
pub mod backoff;
pub mod beat;
pub mod error;
pub mod exit;
pub mod login;
pub mod metrics;
pub mod patience;
pub mod readiness;
pub mod shutdown;
pub mod stream;
pub mod supervise;
pub mod telemetry;
