//! What a user asks Weir to collect, and what that means for one node.

#[macro_use]
mod closed;
pub mod api;
pub mod kind;

pub use api::{
    CollectorNode, CollectorNodeSpec, CollectorNodeStatus, CollectorProfile, CollectorProfileSpec,
    CollectorProfileStatus, CollectorSink, CollectorSinkSpec, CollectorSinkStatus,
};
pub use kind::EventKind;
