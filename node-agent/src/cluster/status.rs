//! What the node's report says: from what runs, what was refused, how sinks do, and the ledgers of the last minute.
//!
//! Pure but for the texts of errors; the writer decides when it is written.

mod fit;
mod profile;
mod window;

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_profile::CollectorNodeStatus;
use weir_profile::api::{Capability, HookState, HookStatus as HookRow, NodeSink, NodeSinkState};
use weir_profile::api::{ConditionReason, NodeProfileState};

pub use fit::{Fitted, LeftOut};
pub use window::Window;

use crate::bpf::hook::{HOOKS, HookError};
use crate::bpf::kernel::HookStatus;
use crate::config::Problem;
use crate::control::view::Shown;
use crate::publish::{SinkState, TroubleKind};

/// Messages are cut to what the schema allows.
const MESSAGE_MAX: usize = 256;

/// What does not change while the agent lives.
#[derive(Debug, Clone)]
pub struct Facts {
    /// UID of the agent's pod.
    pub pod_uid: String,
    /// The agent's life.
    pub epoch: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The kernel's boot id.
    pub boot_id: String,
}

/// What the report is made of, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// What runs, and what does not.
    pub shown: &'a Shown,
    /// What is wrong with profiles, those for other nodes included.
    pub problems: &'a [Problem],
    /// The node's labels, once they are known.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// How sinks do.
    pub sinks: &'a [(Arc<str>, SinkState)],
    /// The last minute's ledgers.
    pub window: &'a Window,
    /// How far the node's clock is off, if it is.
    pub clock_skew_seconds: Option<i64>,
}

/// Puts the report together, no larger than the API server takes it.
#[must_use]
pub fn status(facts: &Facts, sources: Sources<'_>) -> Fitted {
    let Sources {
        shown,
        sinks,
        window,
        clock_skew_seconds,
        ..
    } = sources;
    let profiles = profile::rows(sources);
    let live = profiles.iter().filter(|profile| is_well(profile.state)).count();
    fit::fit(CollectorNodeStatus {
        summary: Some(format!("{live}/{}", profiles.len())),
        agent_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        kernel: Some(facts.kernel.clone()),
        boot_id: Some(facts.boot_id.clone()),
        pod_uid: Some(facts.pod_uid.clone()),
        epoch: i64::try_from(facts.epoch).ok(),
        capabilities: capabilities(shown),
        hooks: HOOKS
            .iter()
            .zip(&shown.hooks)
            .map(|(hook, (name, status))| hook_row(hook.method(), name, status))
            .collect(),
        profiles,
        sinks: sinks.iter().map(|(name, state)| sink_row(name, state)).collect(),
        window: window.total(),
        clock_skew_seconds,
    })
}

const fn is_well(state: NodeProfileState) -> bool {
    matches!(
        state,
        NodeProfileState::Live | NodeProfileState::Suspended | NodeProfileState::Expired
    )
}

/// A message that fits, if there is one.
fn message(text: &str) -> Option<String> {
    let cut = fit::cut(text, MESSAGE_MAX);
    (!cut.is_empty()).then(|| cut.to_owned())
}

fn capabilities(shown: &Shown) -> Vec<Capability> {
    let attached = |method: &str| {
        HOOKS.iter().zip(&shown.hooks).any(|(hook, (_, status))| {
            hook.method() == method && matches!(status, HookStatus::Attached | HookStatus::Idle)
        })
    };
    // The object loads only where these are there.
    let mut capabilities = vec![
        Capability::RingBuffer,
        Capability::Btf,
        Capability::Iter,
        Capability::Cmpxchg,
        Capability::CgroupV2,
    ];
    if attached("tp_btf") {
        capabilities.push(Capability::TpBtf);
    }
    if attached("tracepoint") {
        capabilities.push(Capability::Tracepoint);
    }
    capabilities.sort();
    capabilities
}

/// Why a hook does not run, as a condition's reason.
pub(super) const fn hook_reason(error: &HookError) -> ConditionReason {
    match error {
        HookError::NoTracefs(_) => ConditionReason::TracefsMissing,
        HookError::Permission => ConditionReason::CapabilityMissing,
        HookError::NoTracepoint(_) | HookError::MissingFields(_) => ConditionReason::KindUnsupported,
        HookError::Refused(_) | HookError::Attach(_) => ConditionReason::HookFailed,
    }
}

fn hook_row(method: &str, name: &str, status: &HookStatus) -> HookRow {
    let (state, reason, text) = match status {
        HookStatus::Attached => (HookState::Attached, None, String::new()),
        HookStatus::Idle => (HookState::Idle, None, String::new()),
        HookStatus::Failed(error) => {
            let reason = hook_reason(error);
            let state = if reason == ConditionReason::KindUnsupported {
                HookState::Unavailable
            } else {
                HookState::Failed
            };
            (state, Some(reason), error.to_string())
        }
    };
    HookRow {
        name: name.to_owned(),
        state,
        via: (state == HookState::Attached).then(|| format!("{method}/{name}")),
        reason,
        message: message(&text),
    }
}

fn sink_row(name: &str, state: &SinkState) -> NodeSink {
    let (state, reason, text) = match state {
        SinkState::Live => (NodeSinkState::Delivering, None, String::new()),
        SinkState::Connecting => (
            NodeSinkState::Waiting,
            Some(ConditionReason::Pending),
            "connecting".to_owned(),
        ),
        SinkState::Degraded { trouble, .. } => {
            let text = format!("{}: {}", trouble.message, trouble.remedy);
            let state = match trouble.kind {
                TroubleKind::StreamFull | TroubleKind::DiskFull => NodeSinkState::Shedding,
                TroubleKind::WrongCredentials | TroubleKind::NotPermitted | TroubleKind::SubjectNotTaken => {
                    NodeSinkState::Refused
                }
                _ => NodeSinkState::Waiting,
            };
            (state, Some(sink_reason(trouble.kind)), text)
        }
    };
    NodeSink {
        name: name.to_owned(),
        state,
        reason,
        message: message(&text),
    }
}

const fn sink_reason(kind: TroubleKind) -> ConditionReason {
    match kind {
        TroubleKind::WrongCredentials | TroubleKind::NotPermitted | TroubleKind::BadCredentials => {
            ConditionReason::AuthenticationFailed
        }
        TroubleKind::CredentialsMissing => ConditionReason::CredentialsNotMounted,
        TroubleKind::StreamMissing | TroubleKind::JetStreamOff => ConditionReason::StreamMissing,
        TroubleKind::SubjectNotTaken => ConditionReason::SubjectRefused,
        TroubleKind::StreamConflict => ConditionReason::StreamConflict,
        TroubleKind::StreamFull | TroubleKind::DiskFull => ConditionReason::Shedding,
        TroubleKind::Unreachable
        | TroubleKind::Unresolvable
        | TroubleKind::Tls
        | TroubleKind::NoAck
        | TroubleKind::Unavailable
        | TroubleKind::CannotWrite
        | TroubleKind::OutputClosed => ConditionReason::SinkUnreachable,
    }
}
