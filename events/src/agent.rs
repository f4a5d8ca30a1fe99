//! What the agent says of itself: owned, rare, and encoded one per message.

mod rfc3339;
mod wire;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::{BatchHeader, Encoding, Sealed, json, protobuf};
use crate::kind::Kind;
use crate::name;

/// Who says it, and its place in the sink's stream of agent events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentHeader {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The agent's life.
    pub epoch: u64,
    /// The sink the event is for: agent events have a sequence of their own in each.
    pub sink: String,
    /// The event's sequence number in that sink.
    pub seq: u64,
    /// Wall clock, nanoseconds since 1970.
    pub time_unix_nanos: u64,
}

impl AgentHeader {
    /// The profile in the event's id, `_agent.<sink>`; for [`crate::message_id`] too.
    #[must_use]
    pub fn profile(&self) -> String {
        name::agent_profile(&self.sink)
    }
}

/// An event of the agent itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// The node's ledger at a cut.
    Ledger(AgentLedger),
    /// Sequence numbers that will never arrive.
    Loss(AgentLoss),
    /// What a profile does on the node changed.
    Profile(AgentProfile),
    /// The agent's own state changed.
    Health(AgentHealth),
}

impl AgentEvent {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ledger(_) => Kind::AgentLedger,
            Self::Loss(_) => Kind::AgentLoss,
            Self::Profile(_) => Kind::AgentProfile,
            Self::Health(_) => Kind::AgentHealth,
        }
    }
}

/// The exact ledger of one node at its last cut.
///
/// Its serde form is that of `GET /ledger`: snake case, plain numbers. On the stream it is written as the schema
/// says, like every event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentLedger {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The agent's life that the ledger speaks of.
    pub epoch: u64,
    /// The kernel's boot id.
    pub boot_id: String,
    /// When it was exact.
    pub cut: LedgerCut,
    /// What hooks did not see or passed over.
    pub hooks: Vec<LedgerHook>,
    /// The counters of each profile.
    pub profiles: Vec<LedgerProfile>,
}

/// A ledger cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerCut {
    /// Counts the epoch's cuts, from 1.
    pub id: u64,
    /// When it was made, wall clock, nanoseconds since 1970; RFC 3339 text in serde's form, where it is `time`.
    #[serde(rename = "time", with = "rfc3339")]
    pub time_unix_nanos: u64,
    /// Every record of the lane arrived: the identities hold.
    pub closed: bool,
    /// The epoch's last cut, made at shutdown.
    #[serde(rename = "final", default)]
    pub is_final: bool,
    /// The epoch ended without a final cut: what it did after this one is not known.
    #[serde(default)]
    pub unknown_after: bool,
}

/// What one hook did not see or passed over, outside the identities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerHook {
    /// The hook's name.
    pub hook: String,
    /// Runs the kernel skipped; `None` where it does not count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// Runs for the agent itself.
    pub excluded: u64,
    /// Runs that failed, of any reason.
    pub hook_error: u64,
    /// Runs whose process could not be told.
    pub untracked: u64,
    /// `hook_error` by reason; they sum up to it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hook_error_reasons: BTreeMap<String, u64>,
}

/// The counters of one profile.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerProfile {
    /// The profile's name.
    pub name: String,
    /// Its generation in the kernel.
    pub generation: u64,
    /// Its plan's digest.
    pub digest: String,
    /// The counters of each of its events.
    pub slots: Vec<LedgerSlot>,
}

/// The counters of one (profile, event), of one epoch; never reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSlot {
    /// The event's name in the profile.
    pub event: String,
    /// Its kind's name.
    pub kind: String,
    /// Occurrences in scope that matched: the sum of the kernel's outcomes.
    pub matched: u64,
    /// Left out by the sampling that the profile asks for.
    pub sampled_out: u64,
    /// Held back by the event's limit.
    pub limited_event: u64,
    /// Held back by the profile's limit.
    pub limited_profile: u64,
    /// Held back by the workload's limit.
    pub limited_workload: u64,
    /// Lost because the ring was full.
    pub ring_full: u64,
    /// Counted only, in mode `DryRun`.
    pub dry_run: u64,
    /// Held back by a CPU budget.
    pub throttled: u64,
    /// Held back by a pressure signal from user space.
    pub suppressed: u64,
    /// Written to the ring.
    pub ringed: u64,
    /// In the ring, not yet drained.
    pub in_ring: u64,
    /// Records that could not be decoded.
    pub malformed: u64,
    /// Records of workloads that the profile does not select.
    pub out_of_scope: u64,
    /// Left out by what only user space can decide.
    pub filtered: u64,
    /// Waiting for metadata.
    pub held: u64,
    /// Made into events.
    pub accepted: u64,
    /// Stored by the sink.
    pub acked: u64,
    /// Given up because a bound was reached.
    pub shed: u64,
    /// Refused by the sink for good.
    pub rejected: u64,
    /// In an open batch or waiting to be sent.
    pub queued: u64,
    /// On disk.
    pub spooled: u64,
    /// Sent, the answer not yet here.
    pub unacked: u64,
    /// Occurrences whose match could not be evaluated; outside the identities.
    pub undecided: u64,
}

/// Sequence numbers that will never arrive, and why. Applying it twice changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentLoss {
    /// The profile whose sequence it is.
    pub profile: String,
    /// The agent's life whose sequence it is.
    pub epoch: u64,
    /// What is lost.
    pub ranges: Vec<LossRange>,
}

/// The sequence numbers `base .. base + count`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossRange {
    /// Why.
    pub reason: LossReason,
    /// The first.
    pub base: u64,
    /// How many.
    pub count: u64,
}

/// Why events are lost after they got their sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The bound on memory for unsent batches was reached.
    QueueFull,
    /// The bound on the spool was reached.
    SpoolFull,
    /// The sink refused the batch for good.
    Rejected,
    /// The agent stopped before the sink took the batch.
    Shutdown,
    /// The batch stayed behind when the profile moved to another sink.
    SinkChanged,
}

impl LossReason {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::QueueFull,
        Self::SpoolFull,
        Self::Rejected,
        Self::Shutdown,
        Self::SinkChanged,
    ];

    /// The name on the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
            Self::SinkChanged => "sink_changed",
        }
    }
}

/// What one profile does on this node has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentProfile {
    /// The profile's name.
    pub profile: String,
    /// Its UID; its name where there is no API server.
    pub uid: String,
    /// The generation it is about.
    pub generation: u64,
    /// Its plan's digest.
    pub digest: String,
    /// Active, dry run, ...
    pub state: ProfileState,
    /// Why, as a condition's reason; empty when all is well.
    pub reason: String,
    /// Why, in words; empty when all is well.
    pub message: String,
    /// The sink its events go to.
    pub sink: String,
    /// The first sequence number that goes to `sink`.
    pub next_seq: u64,
}

/// What a profile does on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ProfileState {
    /// All of it is collected.
    #[default]
    Active,
    /// Part of it is collected.
    Degraded,
    /// It is counted, nothing is emitted.
    DryRun,
    /// It is suspended.
    Suspended,
    /// Its time is over.
    Expired,
    /// This generation is refused; an older one goes on if there is one.
    Rejected,
    /// It is gone.
    Removed,
}

impl ProfileState {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Active,
        Self::Degraded,
        Self::DryRun,
        Self::Suspended,
        Self::Expired,
        Self::Rejected,
        Self::Removed,
    ];

    /// The name on the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::DryRun => "dry_run",
            Self::Suspended => "suspended",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Removed => "removed",
        }
    }
}

/// The agent, or one part of it, has changed its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentHealth {
    /// Starting, running, ...
    pub state: HealthState,
    /// The part it is about, such as `hook` or `publish`; empty is the agent.
    pub component: String,
    /// Why, from the component's closed set; empty when all is well.
    pub reason: String,
    /// Why, in words; empty when all is well.
    pub message: String,
    /// The agent's version.
    pub agent_version: String,
    /// The kernel's release, as uname(2) says.
    pub kernel_release: String,
}

/// How the agent or a part of it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HealthState {
    /// It began to run: the epoch's first event.
    #[default]
    Started,
    /// All is well.
    Healthy,
    /// It runs, with something missing.
    Degraded,
    /// It stops in an orderly way: the epoch's last event.
    Stopping,
}

impl HealthState {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Started, Self::Healthy, Self::Degraded, Self::Stopping];

    /// The name on the stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Stopping => "stopping",
        }
    }
}

/// Encodes an event of the agent itself as a message of one event.
///
/// It goes to [`crate::agent_subject`] with the [`crate::message_id`] of (cluster, node, epoch,
/// [`AgentHeader::profile`], seq).
#[must_use]
pub fn encode_agent_event(encoding: Encoding, header: &AgentHeader, event: &AgentEvent) -> Sealed {
    let AgentHeader {
        cluster,
        node,
        epoch,
        sink: _,
        seq,
        time_unix_nanos,
    } = header;
    let batch = BatchHeader {
        cluster: cluster.clone(),
        node: node.clone(),
        epoch: *epoch,
        profile: header.profile(),
        kind: event.kind(),
    };
    let (payload, headers) = match encoding {
        Encoding::Json => (
            json::batch_of_one(&batch, *seq, *time_unix_nanos, |json| wire::payload(json, event)),
            json::headers(),
        ),
        Encoding::Protobuf => (
            protobuf::batch_of_one(&batch, *seq, *time_unix_nanos, |proto| {
                wire::payload(proto, event);
            }),
            protobuf::headers(&batch, *seq),
        ),
    };
    Sealed {
        payload,
        headers,
        events: 1,
    }
}
