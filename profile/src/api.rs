//! The Kubernetes types of group `weir.dev`, version `v1alpha1`: shapes, bounds and documentation, no behaviour.
//!
//! All are cluster scoped. No field has a schema default (the defaults live in [`crate::plan`]); every list and string
//! is bounded, so that CEL and etcd hold.

mod condition;
mod event;
pub(crate) mod matches;
mod node;
pub(crate) mod profile;
pub(crate) mod quantity;
mod reason;
pub(crate) mod rule;
pub(crate) mod rules;
pub(crate) mod selector;
pub(crate) mod sink;
mod status;
mod timestamp;

pub use condition::{Condition, ConditionStatus, ConditionType};
pub use event::{Event, EventLimit, Per, Sample, SampleBy};
pub use matches::{Access, Match, PortRange, Protocol, StringMatch};
pub use node::{
    Capability, CollectorNode, CollectorNodeSpec, CollectorNodeStatus, HookState, HookStatus, KindState,
    NodeProfile, NodeProfileKind, NodeProfileState, NodeSink, NodeSinkState,
};
pub use profile::{
    CollectorProfile, CollectorProfileSpec, HostScope, Limits, Mode, NodeSelection, PerWorkload, SinkRef,
    WorkloadSelection,
};
pub use quantity::{Quantity, QuantityError};
pub use reason::ConditionReason;
pub use selector::{LabelRequirement, LabelSelector, Operator};
pub use sink::{
    Batch, CollectorSink, CollectorSinkSpec, CollectorSinkStatus, Compression, Encoding, Manage, NatsSink,
    SecretKeyRef, SecretRef, Spool, Storage, Stream, Tls, WhenFull,
};
pub use status::{CollectorProfileStatus, NodeCounts, Problem, Window};
pub use timestamp::Timestamp;

/// API group of every Weir type.
pub const GROUP: &str = "weir.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a document.
pub const API_VERSION: &str = "weir.dev/v1alpha1";
/// A DNS label: profile, sink and event names. A dot would add a token to a NATS subject.
pub(crate) const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";

/// Whether a text is a DNS label of at most 63 characters.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|byte| alphanumeric(byte) || *byte == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}
