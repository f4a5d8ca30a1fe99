//! What one node does for one profile, told from its report, its agent's pods and the clock.

use weir_profile::api::{ConditionReason, Mode, NodeProfile, NodeProfileState};

use super::index::{Index, NodeFacts, SILENT_SECONDS};
use super::tally::Subject;

/// Agents stop an expired profile by their own clocks; only after this does one that has not count as late.
pub(super) const EXPIRY_GRACE_SECONDS: i64 = 30;

/// One expected node's verdict for one profile. Every expected node has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeVerdict<'a> {
    /// Does what this generation asks for; `expired` when that is nothing any more.
    Live {
        /// The node's own word.
        entry: &'a NodeProfile,
    },
    /// Has not followed yet.
    Pending(ConditionReason, String),
    /// Does a part of it.
    Degraded(&'a NodeProfile),
    /// Tried and could not.
    Failed(&'a NodeProfile),
    /// Has no hook for any of it.
    Unsupported(&'a NodeProfile),
    /// Its agent does not answer.
    Stale(ConditionReason, String),
}

/// Whether a node counts, and if so how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// Not selected.
    Other,
    /// Selected, and no agent may run there.
    Excluded,
    /// Selected, silent, and too young to be missed; from this second on it will be.
    Young(i64),
    /// Expected.
    Expected(NodeVerdict<'a>),
}

pub(super) fn standing<'a>(
    index: &'a Index,
    name: &str,
    facts: &NodeFacts,
    subject: &Subject,
    now: i64,
) -> Standing<'a> {
    if !subject
        .selector
        .as_ref()
        .is_none_or(|selector| selector.matches(&facts.labels))
    {
        return Standing::Other;
    }
    if !facts.eligible {
        return Standing::Excluded;
    }
    let missed_from = facts.created.saturating_add(SILENT_SECONDS);
    if !index.reports.contains_key(name) {
        return if now < missed_from {
            Standing::Young(missed_from)
        } else {
            let (reason, message) = trouble(index, name).unwrap_or((
                ConditionReason::AwaitingAgents,
                "its agent has not reported yet".to_owned(),
            ));
            Standing::Expected(NodeVerdict::Pending(reason, message))
        };
    }
    let Some(report) = index.trusted(name) else {
        let (reason, message) = trouble(index, name).unwrap_or((
            ConditionReason::AgentStale,
            "its agent's pod is not ready".to_owned(),
        ));
        return Standing::Expected(NodeVerdict::Stale(reason, message));
    };
    let entry = report
        .profiles
        .get(&subject.name)
        .filter(|entry| entry.uid == subject.uid);
    Standing::Expected(entry.map_or_else(
        || {
            NodeVerdict::Pending(
                ConditionReason::NodesPending,
                "the agent has not taken the profile up yet".to_owned(),
            )
        },
        |entry| verdict(entry, subject, now),
    ))
}

fn trouble(index: &Index, node: &str) -> Option<(ConditionReason, String)> {
    index.pods_on(node).find_map(|pod| pod.trouble.clone())
}

fn verdict<'a>(entry: &'a NodeProfile, subject: &Subject, now: i64) -> NodeVerdict<'a> {
    // It names the generation that the agent still holds, and speaks of the one that it cannot read.
    if entry.reason == Some(ConditionReason::AgentTooOld) && entry.generation <= subject.generation {
        return NodeVerdict::Failed(entry);
    }
    let other_plan = entry
        .digest
        .as_ref()
        .zip(subject.digest.as_ref())
        .is_some_and(|(has, wanted)| has != wanted);
    if entry.generation != subject.generation || other_plan {
        return NodeVerdict::Pending(
            ConditionReason::NodesPending,
            "the agent still holds an older generation".to_owned(),
        );
    }
    match entry.state {
        NodeProfileState::Failed => return NodeVerdict::Failed(entry),
        NodeProfileState::Unsupported => return NodeVerdict::Unsupported(entry),
        NodeProfileState::Degraded => return NodeVerdict::Degraded(entry),
        NodeProfileState::Expired if subject.expires_at.is_some() => return NodeVerdict::Live { entry },
        NodeProfileState::Suspended if subject.mode == Mode::Suspended => return NodeVerdict::Live { entry },
        NodeProfileState::Live if subject.mode == Mode::Suspended => {
            let message = "the agent has not suspended the profile yet".to_owned();
            return NodeVerdict::Pending(ConditionReason::NodesPending, message);
        }
        NodeProfileState::Live
        | NodeProfileState::Pending
        | NodeProfileState::Expired
        | NodeProfileState::Suspended => {}
    }
    let overdue = subject
        .expires_at
        .is_some_and(|at| now > at.saturating_add(EXPIRY_GRACE_SECONDS));
    if entry.state == NodeProfileState::Live && !overdue {
        // Without a digest nobody has read the kernel back.
        return if entry.digest.is_some() || subject.digest.is_none() {
            NodeVerdict::Live { entry }
        } else {
            NodeVerdict::Pending(
                ConditionReason::NodesPending,
                "the kernel was not read back yet".to_owned(),
            )
        };
    }
    let fallback = if overdue {
        ConditionReason::ClockSkew
    } else {
        ConditionReason::NodesPending
    };
    let message = if overdue {
        "the profile has expired, and the node has not stopped it".to_owned()
    } else {
        entry
            .message
            .clone()
            .unwrap_or_else(|| "the agent is still programming the kernel".to_owned())
    };
    NodeVerdict::Pending(entry.reason.unwrap_or(fallback), message)
}
