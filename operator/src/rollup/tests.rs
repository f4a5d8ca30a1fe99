//! One test per rule of a profile's status.

mod trouble;

use weir_profile::CollectorProfileStatus;
use weir_profile::EventKind;
use weir_profile::api::{
    ConditionReason as R, ConditionStatus, ConditionType as T, KindState, Mode, NodeProfileKind,
    NodeProfileState as S, NodeSinkState, Timestamp,
};

use super::samples::{NOW, add, entry, facts, fleet, pod, report, subject};
use super::status::Input;
use super::{Index, Subject, Verdict, status};

fn accepted() -> Verdict {
    Verdict::Accepted {
        digest: "d3".to_owned(),
    }
}

fn roll_at(
    index: &Index,
    subject: &Subject,
    percent: u32,
    old: Option<&CollectorProfileStatus>,
    now: i64,
) -> CollectorProfileStatus {
    let tally = index.tally(subject, now);
    let verdict = accepted();
    let input = Input {
        subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: percent,
        trouble: None,
        blindness: None,
    };
    status(&input, old, Timestamp::from_unix_seconds(now).unwrap())
}

fn roll(index: &Index) -> CollectorProfileStatus {
    roll_at(index, &subject(), 100, None, NOW)
}

fn says(status: &CollectorProfileStatus, type_: T) -> (ConditionStatus, R) {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
        .unwrap();
    (found.status, found.reason)
}

const TRUE: ConditionStatus = ConditionStatus::True;
const FALSE: ConditionStatus = ConditionStatus::False;
const UNKNOWN: ConditionStatus = ConditionStatus::Unknown;

fn summary(status: &CollectorProfileStatus) -> &str {
    &status.nodes.as_ref().unwrap().summary
}

#[test]
fn status_all_live_has_every_condition_and_is_ready() {
    let status = roll(&fleet(3));
    let all: Vec<T> = status
        .conditions
        .iter()
        .map(|condition| condition.type_)
        .collect();
    assert_eq!(all, T::ALL);
    for (type_, expected) in [
        (T::Ready, (TRUE, R::Live)),
        (T::Accepted, (TRUE, R::Accepted)),
        (T::Programmed, (TRUE, R::Live)),
        (T::Delivering, (TRUE, R::Acknowledged)),
        (T::Complete, (TRUE, R::NothingMissed)),
        (T::Degraded, (FALSE, R::Healthy)),
        (T::Reconciling, (FALSE, R::UpToDate)),
        (T::Stalled, (FALSE, R::Healthy)),
    ] {
        assert_eq!(says(&status, type_), expected, "{type_}");
    }
    assert_eq!(summary(&status), "3/3");
    assert_eq!(
        (status.observed_generation, status.digest.as_deref()),
        (Some(3), Some("d3"))
    );
    assert_eq!(status.window.unwrap().events_per_second, 20, "30 on the ladder");
    assert!(status.problems.is_empty());
}

#[test]
fn status_no_node_reported_is_never_ready() {
    let mut index = Index::default();
    index.set_node("old", Some(facts()));
    let status = roll(&index);
    assert_eq!(says(&status, T::Ready), (FALSE, R::AwaitingAgents));
    assert_eq!(says(&status, T::Reconciling), (TRUE, R::AwaitingAgents));
    assert_eq!(says(&status, T::Delivering), (UNKNOWN, R::AwaitingAgents));
    assert_eq!(summary(&status), "0/1");
}

#[test]
fn status_young_silent_node_is_expected_from_its_120th_second_on() {
    let mut index = fleet(1);
    index.set_node(
        "young",
        Some(super::NodeFacts {
            created: NOW - 100,
            ..facts()
        }),
    );
    let status = roll(&index);
    assert_eq!(
        (says(&status, T::Ready), summary(&status)),
        ((TRUE, R::Live), "1/1")
    );
    assert_eq!(status.nodes.as_ref().unwrap().matched, 2);
    assert_eq!(index.tally(&subject(), NOW).changes_at, Some(NOW + 20));
    let later = roll_at(&index, &subject(), 100, Some(&status), NOW + 20);
    assert_eq!(
        (says(&later, T::Ready), summary(&later)),
        ((FALSE, R::NodesPending), "1/2")
    );
    assert_eq!(
        says(&later, T::Reconciling),
        (FALSE, R::UpToDate),
        "node churn is no change of the spec"
    );
}

#[test]
fn status_only_a_young_silent_node_waits_for_agents() {
    let mut index = Index::default();
    index.set_node(
        "young",
        Some(super::NodeFacts {
            created: NOW - 5,
            ..facts()
        }),
    );
    assert_eq!(says(&roll(&index), T::Ready), (FALSE, R::AwaitingAgents));
}

#[test]
fn status_agent_that_cannot_be_replaced_says_why_instead_of_stale() {
    let mut index = fleet(2);
    index.set_pod(
        "weir-agent-n1",
        Some(super::AgentPod {
            uid: "a-new-pod".to_owned(),
            trouble: Some((R::ImagePullFailed, "image x cannot be pulled".to_owned())),
            ..pod("n1", false)
        }),
    );
    let status = roll(&index);
    assert_eq!(says(&status, T::Ready), (FALSE, R::ImagePullFailed));
    assert_eq!(says(&status, T::Degraded), (TRUE, R::ImagePullFailed));
    assert_eq!(status.nodes.as_ref().unwrap().stale, 1);
}

#[test]
fn status_unready_pod_or_another_pods_report_is_stale() {
    for (ready, uid) in [(false, "pod-of-n1"), (true, "a-new-pod")] {
        let mut index = fleet(2);
        index.set_pod(
            "weir-agent-n1",
            Some(super::AgentPod {
                uid: uid.to_owned(),
                ..pod("n1", ready)
            }),
        );
        let status = roll(&index);
        assert_eq!(says(&status, T::Ready), (FALSE, R::AgentStale));
        assert_eq!(says(&status, T::Degraded), (TRUE, R::AgentStale));
        assert_eq!(
            (status.nodes.as_ref().unwrap().stale, summary(&status)),
            (1, "1/2")
        );
        assert_eq!(status.problems[0].examples, ["n1"]);
    }
}

#[test]
fn status_failing_node_makes_not_ready_at_once_with_the_reason_and_the_node() {
    let mut index = fleet(2);
    let mut failing = entry(S::Degraded, None);
    failing.kinds.push(NodeProfileKind {
        kind: EventKind::ProcessExec,
        state: KindState::Failed,
        reason: Some(R::TracefsMissing),
        message: Some("tracefs is not mounted".to_owned()),
    });
    add(&mut index, "n1", failing);
    let status = roll(&index);
    assert_eq!(says(&status, T::Ready), (FALSE, R::NodesDegraded));
    assert_eq!(says(&status, T::Degraded), (TRUE, R::NodesDegraded));
    let problem = &status.problems[0];
    assert_eq!(
        (problem.reason, problem.nodes, &problem.examples[..]),
        (R::TracefsMissing, 1, &["n1".to_owned()][..])
    );
    assert!(problem.message.contains("process.exec"), "{}", problem.message);
}

#[test]
fn status_ready_percent_tolerates_some_nodes() {
    let mut index = fleet(20);
    add(&mut index, "n7", entry(S::Failed, Some(R::ProgrammingFailed)));
    let strict = roll(&index);
    assert_eq!(says(&strict, T::Ready), (FALSE, R::NodesFailed));
    let tolerant = roll_at(&index, &subject(), 95, None, NOW);
    assert_eq!(says(&tolerant, T::Ready), (TRUE, R::EnoughNodesLive));
    assert_eq!(says(&tolerant, T::Programmed), (FALSE, R::NodesFailed));
    assert_eq!(says(&tolerant, T::Degraded), (TRUE, R::NodesFailed));
}

#[test]
fn status_older_generation_or_plan_is_pending() {
    type Change = fn(&mut weir_profile::api::NodeProfile);
    let changes: [Change; 2] = [
        |entry| entry.generation = 2,
        |entry| entry.digest = Some("d2".to_owned()),
    ];
    for change in changes {
        let mut index = fleet(2);
        let mut old = entry(S::Live, None);
        change(&mut old);
        add(&mut index, "n1", old);
        let status = roll(&index);
        assert_eq!(says(&status, T::Ready), (FALSE, R::NodesPending));
        assert_eq!(says(&status, T::Reconciling), (TRUE, R::NodesPending));
        assert_eq!(
            says(&status, T::Degraded),
            (FALSE, R::Healthy),
            "following a change is no fault"
        );
    }
}

#[test]
fn status_live_without_a_digest_read_back_is_pending() {
    let mut index = fleet(1);
    add(
        &mut index,
        "n0",
        weir_profile::api::NodeProfile {
            digest: None,
            ..entry(S::Live, None)
        },
    );
    assert_eq!(says(&roll(&index), T::Ready), (FALSE, R::NodesPending));
}

#[test]
fn status_report_of_another_profile_of_the_same_name_does_not_count() {
    let mut index = fleet(1);
    add(
        &mut index,
        "n0",
        weir_profile::api::NodeProfile {
            uid: "deleted-uid".to_owned(),
            ..entry(S::Live, None)
        },
    );
    assert_eq!(says(&roll(&index), T::Ready), (FALSE, R::NodesPending));
}

#[test]
fn status_agent_too_old_is_failed_though_it_holds_an_older_generation() {
    let mut index = fleet(1);
    add(
        &mut index,
        "n0",
        weir_profile::api::NodeProfile {
            generation: 2,
            ..entry(S::Live, Some(R::AgentTooOld))
        },
    );
    let status = roll(&index);
    assert_eq!(says(&status, T::Stalled), (TRUE, R::NodesFailed));
    assert_eq!(status.problems[0].reason, R::AgentTooOld);
}

#[test]
fn status_every_node_failed_or_unsupported_is_stalled() {
    let mut index = fleet(0);
    add(&mut index, "a", entry(S::Failed, Some(R::HookFailed)));
    add(&mut index, "b", entry(S::Unsupported, Some(R::KindUnsupported)));
    assert_eq!(says(&roll(&index), T::Stalled), (TRUE, R::NodesFailed));
    add(&mut index, "c", entry(S::Live, None));
    assert_eq!(says(&roll(&index), T::Stalled), (FALSE, R::Healthy));
}

#[test]
fn status_delivery_trouble_degrades_and_stays_ready() {
    let mut index = fleet(2);
    let mut troubled = report("n1", vec![entry(S::Live, None)]).unwrap();
    let sink = troubled.sinks.get_mut("default").unwrap();
    (sink.state, sink.reason) = (NodeSinkState::Waiting, Some(R::AuthenticationFailed));
    index.set_report("n1", Some(troubled));
    let status = roll(&index);
    assert_eq!(says(&status, T::Ready), (TRUE, R::Live));
    assert_eq!(says(&status, T::Delivering), (FALSE, R::AuthenticationFailed));
    assert_eq!(says(&status, T::Degraded), (TRUE, R::AuthenticationFailed));
    assert_eq!(status.problems[0].reason, R::AuthenticationFailed);
}

#[test]
fn status_missed_events_are_incomplete() {
    let mut index = fleet(2);
    add(
        &mut index,
        "n1",
        weir_profile::api::NodeProfile {
            incomplete: Some(R::EventsMissed),
            ..entry(S::Live, None)
        },
    );
    let status = roll(&index);
    assert_eq!(says(&status, T::Complete), (FALSE, R::EventsMissed));
    assert_eq!(says(&status, T::Ready), (TRUE, R::Live));
}

#[test]
fn status_suspended_on_enough_nodes_is_not_called_suspended() {
    let suspended = Subject {
        mode: Mode::Suspended,
        ..subject()
    };
    let mut index = fleet(0);
    for (node, state) in [("a", S::Suspended), ("b", S::Failed)] {
        let row = entry(state, (state == S::Failed).then_some(R::ProgrammingFailed));
        add(
            &mut index,
            node,
            weir_profile::api::NodeProfile { digest: None, ..row },
        );
    }
    let status = roll_at(&index, &suspended, 50, None, NOW);
    assert_eq!(says(&status, T::Ready), (TRUE, R::EnoughNodesLive));
}

#[test]
fn status_suspended_is_ready_once_every_node_confirms() {
    let suspended = Subject {
        mode: Mode::Suspended,
        ..subject()
    };
    let index = fleet(2);
    assert_eq!(
        says(&roll_at(&index, &suspended, 100, None, NOW), T::Ready),
        (FALSE, R::NodesPending)
    );
    let mut index = fleet(0);
    add(
        &mut index,
        "a",
        weir_profile::api::NodeProfile {
            digest: None,
            ..entry(S::Suspended, None)
        },
    );
    let status = roll_at(&index, &suspended, 100, None, NOW);
    assert_eq!(says(&status, T::Ready), (TRUE, R::Suspended));
    assert_eq!(says(&status, T::Delivering), (FALSE, R::Suspended));
    assert_eq!(says(&status, T::Degraded), (FALSE, R::Healthy));
}

#[test]
fn status_expired_is_ready_once_confirmed_and_late_nodes_are_pending() {
    let expiring = Subject {
        expires_at: Some(NOW),
        ..subject()
    };
    let index = fleet(1);
    assert_eq!(
        says(&roll_at(&index, &expiring, 100, None, NOW + 30), T::Ready),
        (TRUE, R::Live)
    );
    assert_eq!(index.tally(&expiring, NOW + 1).changes_at, Some(NOW + 31));
    let late = roll_at(&index, &expiring, 100, None, NOW + 31);
    assert_eq!(
        (says(&late, T::Ready).0, late.problems[0].reason),
        (FALSE, R::ClockSkew)
    );
    let mut index = fleet(0);
    add(
        &mut index,
        "a",
        weir_profile::api::NodeProfile {
            digest: None,
            ..entry(S::Expired, None)
        },
    );
    let status = roll_at(&index, &expiring, 100, None, NOW + 31);
    assert_eq!(says(&status, T::Ready), (TRUE, R::Expired));
    assert_eq!(says(&status, T::Delivering), (FALSE, R::Expired));
}

#[test]
fn status_dry_run_is_ready_and_delivers_nothing() {
    let dry = Subject {
        mode: Mode::DryRun,
        ..subject()
    };
    let status = roll_at(&fleet(1), &dry, 100, None, NOW);
    assert_eq!(says(&status, T::Ready), (TRUE, R::DryRun));
    assert_eq!(says(&status, T::Delivering), (FALSE, R::DryRun));
}

#[test]
fn status_no_matching_or_only_excluded_nodes_is_not_ready() {
    assert_eq!(
        says(&roll(&Index::default()), T::Ready),
        (FALSE, R::NoMatchingNodes)
    );
    let mut index = Index::default();
    index.set_node(
        "n",
        Some(super::NodeFacts {
            eligible: false,
            ..facts()
        }),
    );
    let status = roll(&index);
    assert_eq!(says(&status, T::Ready), (FALSE, R::NoMatchingNodes));
    assert_eq!(status.nodes.unwrap().excluded, 1);
}

#[test]
fn status_refused_is_stalled_and_keeps_the_digest_of_what_still_runs() {
    let index = fleet(1);
    let before = roll(&index);
    let subject = Subject {
        digest: None,
        ..subject()
    };
    let tally = index.tally(&subject, NOW);
    let verdict = Verdict::Refused {
        reason: R::SinkNotFound,
        message: "gone".to_owned(),
    };
    let input = Input {
        subject: &subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: 100,
        trouble: None,
        blindness: None,
    };
    let after = status(
        &input,
        Some(&before),
        Timestamp::from_unix_seconds(NOW + 9).unwrap(),
    );
    assert_eq!(says(&after, T::Accepted), (FALSE, R::SinkNotFound));
    assert_eq!(says(&after, T::Ready), (FALSE, R::SinkNotFound));
    assert_eq!(says(&after, T::Stalled), (TRUE, R::SinkNotFound));
    assert_eq!(
        says(&after, T::Programmed),
        (TRUE, R::Live),
        "the nodes go on with the last good plan"
    );
    assert_eq!((&after.digest, summary(&before)), (&before.digest, "1/1"));
}

#[test]
fn status_reconciling_ends_once_per_generation() {
    let mut index = fleet(2);
    let settled = roll(&index);
    assert_eq!(says(&settled, T::Reconciling), (FALSE, R::UpToDate));
    index.set_report("n1", report("n1", Vec::new()));
    let churned = roll_at(&index, &subject(), 100, Some(&settled), NOW + 1);
    assert_eq!(says(&churned, T::Ready), (FALSE, R::NodesPending));
    assert_eq!(says(&churned, T::Reconciling), (FALSE, R::UpToDate));
    let edited = Subject {
        generation: 4,
        digest: Some("d4".to_owned()),
        ..subject()
    };
    let after = roll_at(&index, &edited, 100, Some(&churned), NOW + 2);
    assert_eq!(says(&after, T::Reconciling), (TRUE, R::NodesPending));
}

#[test]
fn status_transition_times_move_with_the_status_alone() {
    let mut index = fleet(2);
    let first = roll(&index);
    index.set_pod("weir-agent-n1", Some(pod("n1", false)));
    let second = roll_at(&index, &subject(), 100, Some(&first), NOW + 50);
    let time = |status: &CollectorProfileStatus, type_: T| {
        status
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .unwrap()
            .last_transition_time
            .unix_seconds()
    };
    assert_eq!(
        (time(&second, T::Ready), time(&second, T::Accepted)),
        (NOW + 50, NOW)
    );
}

#[test]
fn status_nothing_changed_is_the_same_status() {
    let index = fleet(5);
    let first = roll(&index);
    assert_eq!(roll_at(&index, &subject(), 100, Some(&first), NOW + 500), first);
}

#[test]
fn touched_profiles_are_those_that_the_report_speaks_of() {
    let mut index = fleet(1);
    let quiet = index.set_report("n0", report("n0", vec![entry(S::Live, None)]));
    assert_eq!(quiet, super::Touched::None);
    let touched = index.set_report("n0", report("n0", vec![entry(S::Failed, None)]));
    assert_eq!(touched, super::Touched::Some(["baseline".to_owned()].into()));
    assert_eq!(
        index.set_pod("weir-agent-n0", Some(pod("n0", true))),
        super::Touched::None
    );
    assert_eq!(
        index.set_pod("weir-agent-n0", Some(pod("n0", false))),
        super::Touched::All
    );
}

/// The rules of kstatus for objects with our conditions, as Flux, Argo CD and kpt apply them.
fn kstatus(status: &CollectorProfileStatus, generation: i64) -> &'static str {
    if status.observed_generation != Some(generation) || says(status, T::Reconciling).0 == TRUE {
        "InProgress"
    } else if says(status, T::Stalled).0 == TRUE {
        "Failed"
    } else if says(status, T::Ready).0 == TRUE {
        "Current"
    } else {
        "InProgress"
    }
}

#[test]
fn status_follows_the_rules_of_kstatus() {
    let mut index = fleet(2);
    let live = roll(&index);
    assert_eq!((kstatus(&live, 3), kstatus(&live, 4)), ("Current", "InProgress"));
    index.set_report("n1", report("n1", Vec::new()));
    assert_eq!(kstatus(&roll(&index), 3), "InProgress");
    for node in ["n0", "n1"] {
        add(&mut index, node, entry(S::Failed, Some(R::ProgrammingFailed)));
    }
    assert_eq!(kstatus(&roll(&index), 3), "Failed");
    let (subject, tally) = (subject(), index.tally(&subject(), NOW));
    let verdict = Verdict::Refused {
        reason: R::InvalidSpec,
        message: String::new(),
    };
    let input = Input {
        subject: &subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: 100,
        trouble: None,
        blindness: None,
    };
    assert_eq!(kstatus(&status(&input, None, Timestamp::default()), 3), "Failed");
}
