//! What a user asks Weir to collect, and what that means for one node.
//!
//! The crate is pure: it names no client, no clock and no file but the ones its callers hand it. It holds the three
//! Kubernetes types ([`api`]), the checks that an API server makes with their schema ([`validate`]), the reading of
//! profile files ([`load`]), and two functions that both the operator and every agent call: [`plan()`] turns one profile
//! and its sink into a node-independent [`Plan`], [`place()`] turns all plans and the facts of one node into what that
//! node's kernel maps must hold. So what the operator accepted is what runs.

#[macro_use]
mod closed;
pub mod api;
pub mod cidr;
pub mod crds;
pub mod error;
mod hex;
pub mod kind;
pub mod load;
pub mod place;
pub mod plan;
pub mod validate;

pub use api::{
    CollectorNode, CollectorNodeSpec, CollectorNodeStatus, CollectorProfile, CollectorProfileSpec,
    CollectorProfileStatus, CollectorSink, CollectorSinkSpec, CollectorSinkStatus,
};
pub use error::{FieldError, FieldErrors};
pub use kind::EventKind;
pub use load::{Document, LoadError, load, standalone_errors};
pub use place::{Assignment, NodeConfig, NodeFacts, PlacedProfile, PlacedSlot, Placement, place};
pub use plan::{Plan, PlanErrors, SinkPlan, SinkTarget, plan, plan_with_sink};
