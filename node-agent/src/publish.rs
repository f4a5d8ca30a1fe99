//! From sealed batches to acknowledgements: the publish runtime and its sinks.
//!
//! The drain thread pushes [`SealedBatch`](crate::batch::SealedBatch)es through a [`PublishHandle`]; one thread with a
//! current-thread runtime sends them. A batch leaves only as acked, rejected or shed, and each is told to
//! [`Outcomes`]. This module never opens a batch: what it sends on a retry is the same bytes under the same id.
//!
//! The way of a batch: [`queue`] (bounded, sheds the lowest priority) -> a sink's loop ([`nats`], [`writer`]) -> an
//! answer -> [`delivery`], the one place that tells outcomes and metrics. Where a queue overflows, [`queue::BatchQueue`]
//! hands the overflow back to `PublishHandle::push`: a spool takes its place there, before the shedding.

pub mod agent_events;
pub mod codes;
mod compress;
pub mod credentials;
mod delivery;
mod file;
pub mod identity;
pub mod metrics;
mod nats;
pub mod outcome;
mod pace;
mod plan;
pub mod publisher;
pub mod queue;
pub mod settings;
pub mod state;
mod stdout;
mod writer;

pub use agent_events::{AgentEvent, AgentMessage, AgentSlot, LossEncoder, LossRange};
pub use identity::AgentIdentity;
pub use outcome::{Loss, LossReason, Outcomes};
pub use plan::PlanError;
pub use publisher::{DrainReport, PublishHandle, Publisher, PublisherParts, StartError};
pub use settings::{SinkSettings, Target};
pub use state::{SinkState, Trouble, TroubleKind};
