use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use weir_profile::place::{Placement, Refusal, UnsupportedEvent};
use weir_profile::{EventKind, api::NodeProfileState};

use super::super::{Facts, Sources, Window as Ledgers, status};
use super::*;
use crate::bpf::hook::{HOOKS, HookError};
use crate::bpf::kernel::HookStatus as KernelHook;
use crate::config::Problem;
use crate::control::view::{ProfileView, Shown};
use crate::enrich::IndexCounts;
use crate::publish::{SinkState, Trouble, TroubleKind};

/// The contract's bound.
const REPORT_BYTES: usize = 32 << 10;

/// A name as long as names may be.
fn name(prefix: &str, number: usize) -> String {
    format!("{prefix}-{number:04}-{}", "n".repeat(63 - prefix.len() - 6))
}

fn running(number: usize) -> ProfileView {
    ProfileView {
        name: name("r", number),
        uid: format!("00000000-0000-0000-0000-{number:012}"),
        generation: 1_000_000,
        digest: "0123456789abcdef".into(),
        slots: 1,
        kinds: BTreeSet::new(),
        limits_pods: true,
        limits_containers: false,
    }
}

fn facts() -> Facts {
    Facts {
        pod_uid: "0".repeat(36),
        epoch: u64::MAX / 2,
        kernel: "k".repeat(128),
        boot_id: "0".repeat(36),
    }
}

/// A node with so many profiles that run, are refused, are unsupported and have problems, whose messages say `text`.
fn shown(counts: [usize; 3], text: &str) -> Shown {
    let [runs, refused, unsupported] = counts;
    let uid = |number: usize| format!("uid-{number}");
    let refused = (0..refused).map(|number| Refusal {
        profile: name("f", number),
        uid: uid(number),
        generation: 1,
        event: None,
        reason: ConditionReason::TooManyProfiles,
        message: text.to_owned(),
    });
    let unsupported = (0..unsupported).map(|number| UnsupportedEvent {
        profile: name("u", number),
        uid: format!("un-{number}"),
        generation: 1,
        event: "e".into(),
        kind: EventKind::FileOpen,
    });
    let priority = |number: usize| u16::try_from(number % 7).unwrap_or(0);
    Shown {
        profiles: (0..runs).map(running).collect(),
        hooks: HOOKS
            .iter()
            .map(|hook| {
                (
                    hook.name(),
                    KernelHook::Failed(HookError::Refused(text.to_owned())),
                )
            })
            .collect(),
        placement: Placement {
            priorities: refused
                .clone()
                .enumerate()
                .map(|(number, refusal)| (refusal.uid, priority(number)))
                .collect(),
            refused: refused.collect(),
            unsupported: unsupported.collect(),
            ..Placement::default()
        },
        attribution: IndexCounts {
            pods_sharing: 1,
            ..IndexCounts::default()
        },
        version: 1,
    }
}

fn report(shown: &Shown, problems: &[Problem], sinks: &[(Arc<str>, SinkState)]) -> Fitted {
    let sources = Sources {
        shown,
        problems,
        labels: Some(&BTreeMap::new()),
        sinks,
        window: &Ledgers::default(),
        clock_skew_seconds: Some(-100_000),
    };
    status(&facts(), sources)
}

fn sink(number: usize, text: &str) -> (Arc<str>, SinkState) {
    let trouble = Trouble {
        kind: TroubleKind::Unreachable,
        message: text.to_owned(),
        remedy: text.to_owned(),
    };
    let state = SinkState::Degraded {
        trouble,
        since: std::time::SystemTime::UNIX_EPOCH,
    };
    (name("s", number).into(), state)
}

proptest! {
    /// However much there is to say: the report fits, no profile that runs gives way to one that does not, nor one of
    /// higher priority to one of lower, and what is left out is counted.
    #[test]
    fn report_always_fits_and_leaves_out_the_least(
        counts in [0_usize..65, 0_usize..300, 0_usize..100],
        problems in 0_usize..100,
        sinks in 0_usize..100,
        text in "[ -~\\n\"é]{0,400}",
    ) {
        let shown = shown(counts, &text);
        let problems: Vec<Problem> = (0..problems)
            .map(|number| Problem {
                profile: name("b", number),
                uid: format!("b-{number}"),
                generation: 1,
                nodes: None,
                reason: ConditionReason::AgentTooOld,
                message: text.clone(),
            })
            .collect();
        let sinks: Vec<_> = (0..sinks).map(|number| sink(number, &text)).collect();
        let Fitted { status, left_out } = report(&shown, &problems, &sinks);
        prop_assert!(serde_json::to_vec(&status).unwrap().len() <= REPORT_BYTES);
        prop_assert!(status.profiles.len() <= PROFILES_MAX && status.sinks.len() <= SINKS_MAX);
        let all = counts.iter().sum::<usize>() + problems.len();
        prop_assert_eq!(status.profiles.len() + left_out.profiles, all);
        prop_assert_eq!(status.sinks.len() + left_out.sinks, sinks.len());
        prop_assert_eq!(status.hooks.len(), HOOKS.len());
        let runs = |row: &&NodeProfile| row.name.starts_with("r-");
        prop_assert_eq!(status.profiles.iter().filter(runs).count(), counts[0], "all that runs is told");
        let priority = |row: &NodeProfile| shown.placement.priorities.get(&row.uid).copied();
        let others: Vec<_> = status.profiles.iter().filter(|row| !runs(row)).map(priority).collect();
        prop_assert!(others.is_sorted_by(|a, b| a >= b), "{:?}", others);
        // All that select the node are counted, those without a row, too.
        let summary = status.summary.unwrap();
        prop_assert!(summary.ends_with(&format!("/{all}")), "{}", summary);
    }

    /// What is told of profiles does not depend on how sinks do, nor on rates.
    #[test]
    fn profiles_are_told_alike_whatever_the_sinks_and_rates(sinks in 0_usize..64, refused in 0_usize..200, rate in 0_i64..LARGEST_RATE) {
        let shown = shown([64, refused, 10], "a message of some length, which may have to be shortened to have room");
        let quiet = report(&shown, &[], &[]).status;
        let sinks: Vec<_> = (0..sinks).map(|number| sink(number, &"x".repeat(300))).collect();
        let loud = report(&shown, &[], &sinks).status;
        prop_assert_eq!(&quiet.profiles, &loud.profiles);
        let rates = Window { events_per_second: rate, limited_per_second: rate, lost_per_second: rate };
        let mut busy = quiet.clone();
        for row in &mut busy.profiles {
            row.window = Some(rates);
        }
        let Fitted { status, left_out } = fit(busy.clone());
        prop_assert_eq!((status, left_out), (busy, LeftOut::default()));
    }
}

#[test]
fn small_report_keeps_every_word() {
    let shown = shown([3, 2, 1], "why");
    let Fitted { status, left_out } = report(&shown, &[], &[sink(0, "down")]);
    assert_eq!(left_out, LeftOut::default());
    let row = status
        .profiles
        .iter()
        .find(|row| row.state == NodeProfileState::Failed)
        .unwrap();
    assert!(row.message.is_some() && !row.kinds.is_empty() || row.message.as_deref() == Some("why"));
    assert_eq!(status.sinks[0].message.as_deref(), Some("down: down"));
}
