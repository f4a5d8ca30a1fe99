//! The report's row of each profile that selects this node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use weir_node_agent_common::config::KEYED_WORKLOADS;
use weir_profile::EventKind;
use weir_profile::api::{ConditionReason, NodeProfileState};
use weir_profile::api::{KindState, NodeProfile, NodeProfileKind};

use super::{Sources, hook_reason, message};
use crate::bpf::hook::HOOKS;
use crate::bpf::kernel::HookStatus;
use crate::config::Problem;
use crate::control::view::{ProfileView, Shown};
use crate::enrich::IndexCounts;

/// All rows: first those of profiles that run, and among each the higher priority first, then by name.
pub(super) fn rows(
    Sources {
        shown,
        problems,
        labels,
        window,
        ..
    }: Sources<'_>,
) -> Vec<NodeProfile> {
    let mut rows: BTreeMap<String, NodeProfile> = BTreeMap::new();
    for profile in &shown.profiles {
        let (rates, incomplete) = window.profile(&profile.name, &profile.kinds);
        let row = row(
            &profile.name,
            &profile.uid,
            profile.generation,
            NodeProfileState::Live,
        );
        let row = NodeProfile {
            digest: Some(profile.digest.clone()),
            incomplete,
            window: rates,
            ..row
        };
        rows.insert(profile.name.clone(), overflowed(row, profile, shown.attribution));
    }
    for idle in &shown.placement.idle {
        let state = match idle.reason {
            ConditionReason::Expired => NodeProfileState::Expired,
            _ => NodeProfileState::Suspended,
        };
        let row = NodeProfile {
            digest: Some(idle.digest.clone()),
            reason: Some(idle.reason),
            ..row(&idle.name, &idle.uid, idle.generation, state)
        };
        rows.insert(idle.name.clone(), row);
    }
    unsupported(shown, &mut rows);
    for refusal in &shown.placement.refused {
        let runs = rows.contains_key(&refusal.profile);
        // A place that is about to be free is worth waiting for; every other refusal lasts.
        let state = match refusal.reason {
            ConditionReason::Pending => NodeProfileState::Pending,
            _ => NodeProfileState::Failed,
        };
        let fresh = row(&refusal.profile, &refusal.uid, refusal.generation, state);
        let entry = rows.entry(refusal.profile.clone()).or_insert(fresh);
        if runs {
            entry.state = NodeProfileState::Degraded;
        }
        entry.reason = Some(refusal.reason);
        entry.message = message(&refusal.message);
    }
    for problem in problems {
        let runs = rows.contains_key(&problem.profile);
        if !runs && !concerns(problem, labels) {
            continue;
        }
        let fresh = row(
            &problem.profile,
            &problem.uid,
            problem.generation,
            NodeProfileState::Failed,
        );
        let entry = rows.entry(problem.profile.clone()).or_insert(fresh);
        if runs {
            entry.state = NodeProfileState::Degraded;
        }
        entry.reason = Some(problem.reason);
        entry.message = message(&problem.message);
    }
    ranked(rows, shown)
}

fn ranked(rows: BTreeMap<String, NodeProfile>, shown: &Shown) -> Vec<NodeProfile> {
    let running: BTreeSet<&str> = shown.profiles.iter().map(|profile| &*profile.name).collect();
    let rank = |row: &NodeProfile| {
        let priority = shown.placement.priorities.get(&row.uid).copied();
        Reverse((running.contains(&*row.name), priority))
    };
    let mut rows: Vec<NodeProfile> = rows.into_values().collect();
    // The sort is stable, and they were by name.
    rows.sort_by_key(rank);
    rows
}

/// Whether what is wrong is wrong for this node. Until its labels are known, a selector may mean another.
fn concerns(problem: &Problem, labels: Option<&BTreeMap<String, String>>) -> bool {
    problem
        .nodes
        .as_ref()
        .is_none_or(|nodes| labels.is_some_and(|labels| nodes.matches(labels)))
}

/// Marks a profile with limits per pod or container whose buckets are too few here. No number, since it would be written
/// again with each pod.
fn overflowed(row: NodeProfile, profile: &ProfileView, counts: IndexCounts) -> NodeProfile {
    let what = if profile.limits_pods && counts.pods_sharing > 0 {
        "pods"
    } else if profile.limits_containers && counts.containers_sharing > 0 {
        "containers"
    } else {
        return row;
    };
    let text = format!("more {what} than the {KEYED_WORKLOADS} buckets of a limit: those beyond share one");
    NodeProfile {
        state: NodeProfileState::Degraded,
        reason: Some(ConditionReason::WorkloadOverflow),
        message: message(&text),
        ..row
    }
}

fn row(name: &str, uid: &str, generation: i64, state: NodeProfileState) -> NodeProfile {
    NodeProfile {
        name: name.to_owned(),
        uid: uid.to_owned(),
        generation,
        digest: None,
        state,
        reason: None,
        message: None,
        kinds: Vec::new(),
        incomplete: None,
        window: None,
    }
}

/// Marks the profiles whose kinds have no working hook here: degraded when something is left, else failed or, when
/// this kernel can never do it, unsupported.
fn unsupported(shown: &Shown, rows: &mut BTreeMap<String, NodeProfile>) {
    for event in &shown.placement.unsupported {
        let (reason, text) = why(shown, event.kind);
        let never = reason == ConditionReason::KindUnsupported;
        let runs = shown.slots_of(&event.profile) > 0;
        let fresh = row(
            &event.profile,
            &event.uid,
            event.generation,
            NodeProfileState::Failed,
        );
        let entry = rows.entry(event.profile.clone()).or_insert(fresh);
        entry.state = match (runs, never) {
            (true, _) => NodeProfileState::Degraded,
            (false, true) => NodeProfileState::Unsupported,
            (false, false) => NodeProfileState::Failed,
        };
        entry.reason = Some(reason);
        entry.message = message(&format!("{}: {text}", event.kind.as_str()));
        if !entry.kinds.iter().any(|kind| kind.kind == event.kind) {
            entry.kinds.push(NodeProfileKind {
                kind: event.kind,
                state: if never {
                    KindState::Unsupported
                } else {
                    KindState::Failed
                },
                reason: Some(reason),
                message: message(&text),
            });
        }
    }
}

/// Why a kind is not collected: the first of its hooks that fails.
fn why(shown: &Shown, kind: EventKind) -> (ConditionReason, String) {
    let failed = HOOKS
        .iter()
        .zip(&shown.hooks)
        .find_map(|(hook, (_, status))| match status {
            HookStatus::Failed(error) if hook.kind == Some(kind) && hook.essential => Some(error),
            _ => None,
        });
    failed.map_or(
        (
            ConditionReason::KindUnsupported,
            "no hook for it works here".to_owned(),
        ),
        |error| (hook_reason(error), error.to_string()),
    )
}

#[cfg(test)]
mod tests;
