use weir_profile::api::LabelSelector;
use weir_profile::place::{Placement, Refusal, UnsupportedEvent};

use super::super::Window;
use super::*;
use crate::bpf::hook::HookError;

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
            kinds: BTreeSet::new(),
            limits_pods: false,
            limits_containers: false,
        }],
        hooks,
        placement: Placement {
            unsupported,
            ..Placement::default()
        },
        attribution: IndexCounts::default(),
        version: 1,
    }
}

#[test]
fn profile_with_a_kind_whose_hook_fails_is_degraded_with_the_hooks_reason() {
    let rows = rows_of(&shown(), &[]);
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
    assert_eq!(rows_of(&shown, &[])[0].state, NodeProfileState::Failed);
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
    let rows = rows_of(&shown, &[]);
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
        nodes: None,
        reason: ConditionReason::AgentTooOld,
        message: "spec.events[0].match.new: not known".into(),
    };
    let rows = rows_of(&shown, &[problem]);
    assert_eq!(
        (rows[0].state, rows[0].generation),
        (NodeProfileState::Degraded, 3)
    );
    assert_eq!(rows[0].reason, Some(ConditionReason::AgentTooOld));
}

fn rows_of(shown: &Shown, problems: &[Problem]) -> Vec<NodeProfile> {
    let labels = [("pool".to_owned(), "web".to_owned())].into();
    rows(Sources {
        shown,
        problems,
        labels: Some(&labels),
        sinks: &[],
        window: &Window::default(),
        clock_skew_seconds: None,
    })
}

fn problem(profile: &str, pool: Option<&str>) -> Problem {
    Problem {
        profile: profile.into(),
        uid: format!("uid-{profile}"),
        generation: 7,
        nodes: pool.map(|pool| LabelSelector {
            match_labels: [("pool".to_owned(), pool.to_owned())].into(),
            ..LabelSelector::default()
        }),
        reason: ConditionReason::SinkNotFound,
        message: "the sink is not there".into(),
    }
}

#[test]
fn problem_is_told_only_by_the_nodes_that_the_profile_is_for_at_its_generation() {
    let problems = [
        problem("everywhere", None),
        problem("here", Some("web")),
        problem("elsewhere", Some("db")),
    ];
    let rows = rows_of(&Shown::default(), &problems);
    let told: Vec<(&str, i64, NodeProfileState)> = rows
        .iter()
        .map(|row| (row.name.as_str(), row.generation, row.state))
        .collect();
    assert_eq!(
        told,
        [
            ("everywhere", 7, NodeProfileState::Failed),
            ("here", 7, NodeProfileState::Failed)
        ]
    );
}

#[test]
fn problem_with_an_edit_that_is_for_other_nodes_is_told_where_the_profile_still_runs() {
    let mut shown = shown();
    shown.placement = Placement::default();
    let rows = rows_of(&shown, &[problem("p", Some("db"))]);
    assert_eq!(rows[0].state, NodeProfileState::Degraded);
}

#[test]
fn profile_with_limits_per_workload_is_degraded_while_workloads_share_a_bucket() {
    let mut shown = shown();
    shown.placement = Placement::default();
    shown.attribution.pods_sharing = 1;
    assert_eq!(rows_of(&shown, &[])[0].state, NodeProfileState::Live);
    shown.profiles[0].limits_containers = true;
    assert_eq!(
        rows_of(&shown, &[])[0].state,
        NodeProfileState::Live,
        "its containers have their own"
    );
    shown.profiles[0].limits_pods = true;
    let row = &rows_of(&shown, &[])[0];
    assert_eq!(
        (row.state, row.reason),
        (
            NodeProfileState::Degraded,
            Some(ConditionReason::WorkloadOverflow)
        )
    );
    shown.attribution.pods_sharing = 0;
    shown.attribution.containers_sharing = 3;
    assert!(
        rows_of(&shown, &[])[0]
            .message
            .as_ref()
            .unwrap()
            .contains("containers")
    );
}
