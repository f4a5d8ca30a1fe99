//! `UnifiedEvent`: the schema, its encoders and the names on the stream.
//!
//! Turns borrowed event views into sealed batches of protobuf or JSON. It does no I/O, names no clock and assigns no
//! sequence number: those are passed in.
//!
//! The schema of record is `proto/weir/v1/event.proto`; `docs/unified-event.md` is its specification. The hot path is
//! [`EventView`] -> [`BatchBuilder::push`] -> [`BatchBuilder::seal`]; rare events of the agent itself go through
//! [`encode_agent_event`]. Feature `decode` adds the consumer's side.

pub mod agent;
pub mod batch;
#[cfg(feature = "decode")]
pub mod decode;
mod encode;
mod fact;
pub mod kind;
pub mod name;
pub mod view;
pub mod workload;

pub use agent::{AgentEvent, AgentHeader, encode_agent_event};
pub use batch::{BatchBuilder, BatchHeader, Encoding, Payloads, Push, Sealed};
pub use kind::{Class, Kind, Severity};
pub use name::{AGENT_TOKEN, agent_subject, message_id, source, subject};
pub use view::{
    Attribution, EventView, FileOpenView, NetConnectView, PayloadView, ProcessExecView, ProcessExitView,
    ProcessView,
};
pub use workload::{Workload, WorkloadRef};
