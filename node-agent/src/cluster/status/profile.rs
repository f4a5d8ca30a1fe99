//! The report's row of each profile that selects this node.

use std::collections::BTreeMap;

use weir_profile::EventKind;
use weir_profile::api::{ConditionReason, NodeProfileState};
use weir_profile::api::{KindState, NodeProfile, NodeProfileKind};

use super::{Window, hook_reason, message};
use crate::bpf::hook::HOOKS;
use crate::bpf::kernel::HookStatus;
use crate::config::Problem;
use crate::control::view::Shown;

/// All rows, by name.
pub(super) fn rows(shown: &Shown, problems: &[Problem], window: &Window) -> Vec<NodeProfile> {
    let mut rows: BTreeMap<String, NodeProfile> = BTreeMap::new();
    for profile in &shown.profiles {
        let (rates, incomplete) = window.profile(&profile.name);
        let row = row(
            &profile.name,
            &profile.uid,
            profile.generation,
            NodeProfileState::Live,
        );
        let digest = Some(profile.digest.clone());
        rows.insert(
            profile.name.clone(),
            NodeProfile {
                digest,
                incomplete,
                window: rates,
                ..row
            },
        );
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
        let fresh = row(&problem.profile, &problem.uid, 0, NodeProfileState::Failed);
        let entry = rows.entry(problem.profile.clone()).or_insert(fresh);
        if runs {
            entry.state = NodeProfileState::Degraded;
        }
        entry.reason = Some(problem.reason);
        entry.message = message(&problem.message);
    }
    rows.into_values().collect()
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
mod tests {
    use weir_profile::place::{Placement, Refusal, UnsupportedEvent};

    use super::*;
    use crate::bpf::hook::HookError;
    use crate::control::view::ProfileView;

    fn shown() -> Shown {
        let hooks = HOOKS
            .iter()
            .map(|hook| {
                let failed = hook.kind == Some(EventKind::FileOpen);
                let error = HookError::NoTracefs("/sys/kernel/tracing".into());
                (
                    hook.name(),
                    if failed {
                        HookStatus::Failed(error)
                    } else {
                        HookStatus::Attached
                    },
                )
            })
            .collect();
        let unsupported = vec![UnsupportedEvent {
            profile: "p".into(),
            uid: "u".into(),
            generation: 3,
            event: "opens".into(),
            kind: EventKind::FileOpen,
        }];
        Shown {
            profiles: vec![ProfileView {
                name: "p".into(),
                uid: "u".into(),
                generation: 3,
                digest: "d".into(),
                slots: 1,
            }],
            hooks,
            placement: Placement {
                unsupported,
                ..Placement::default()
            },
            version: 1,
        }
    }

    #[test]
    fn profile_with_a_kind_whose_hook_fails_is_degraded_with_the_hooks_reason() {
        let rows = rows(&shown(), &[], &Window::default());
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].state, rows[0].generation),
            (NodeProfileState::Degraded, 3)
        );
        assert_eq!(rows[0].reason, Some(ConditionReason::TracefsMissing));
        assert_eq!(rows[0].kinds.len(), 1);
        assert_eq!(rows[0].kinds[0].state, KindState::Failed);
    }

    #[test]
    fn profile_of_which_nothing_runs_is_failed() {
        let mut shown = shown();
        shown.profiles[0].slots = 0;
        assert_eq!(
            rows(&shown, &[], &Window::default())[0].state,
            NodeProfileState::Failed
        );
    }

    #[test]
    fn profile_without_a_place_is_failed_at_the_generation_that_was_refused() {
        let refusal = Refusal {
            profile: "q".into(),
            uid: "v".into(),
            generation: 5,
            event: None,
            reason: ConditionReason::TooManyProfiles,
            message: "a node takes at most 64 profiles".into(),
        };
        let mut shown = shown();
        shown.placement.refused = vec![refusal];
        let rows = rows(&shown, &[], &Window::default());
        let row = rows.iter().find(|row| row.name == "q").unwrap();
        assert_eq!((row.state, row.generation), (NodeProfileState::Failed, 5));
        assert_eq!(row.reason, Some(ConditionReason::TooManyProfiles));
    }

    #[test]
    fn problem_with_a_profile_that_runs_degrades_it_and_keeps_its_generation() {
        let mut shown = shown();
        shown.placement = Placement::default();
        let problem = Problem {
            profile: "p".into(),
            uid: "u".into(),
            generation: 4,
            reason: ConditionReason::AgentTooOld,
            message: "spec.events[0].match.new: not known".into(),
        };
        let rows = rows(&shown, &[problem], &Window::default());
        assert_eq!(
            (rows[0].state, rows[0].generation),
            (NodeProfileState::Degraded, 3)
        );
        assert_eq!(rows[0].reason, Some(ConditionReason::AgentTooOld));
    }
}
