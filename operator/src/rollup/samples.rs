//! Hand-made fleets for tests.

use std::collections::BTreeMap;

use weir_profile::CollectorNodeStatus;
use weir_profile::api::{
    ConditionReason, Mode, NodeProfile, NodeProfileState, NodeSink, NodeSinkState, Window,
};

use super::{AgentPod, Index, NodeFacts, Report, Subject};

/// Long after every sample node was created.
pub(crate) const NOW: i64 = 1_000_000;

pub(crate) fn subject() -> Subject {
    Subject {
        name: "baseline".to_owned(),
        uid: "profile-uid".to_owned(),
        generation: 3,
        digest: Some("d3".to_owned()),
        selector: None,
        mode: Mode::Active,
        expires_at: None,
        sink: "default".to_owned(),
    }
}

pub(crate) fn facts() -> NodeFacts {
    NodeFacts {
        labels: BTreeMap::new(),
        created: 0,
        eligible: true,
    }
}

pub(crate) fn entry(state: NodeProfileState, reason: Option<ConditionReason>) -> NodeProfile {
    NodeProfile {
        name: "baseline".to_owned(),
        uid: "profile-uid".to_owned(),
        generation: 3,
        digest: Some("d3".to_owned()),
        state,
        reason,
        message: reason.map(|reason| format!("because of {reason}")),
        kinds: Vec::new(),
        incomplete: None,
        window: Some(Window {
            events_per_second: 10,
            limited_per_second: 1,
            lost_per_second: 0,
        }),
    }
}

pub(crate) fn report(node: &str, profiles: Vec<NodeProfile>) -> Option<Report> {
    Report::of(Some(CollectorNodeStatus {
        pod_uid: Some(format!("pod-of-{node}")),
        profiles,
        sinks: vec![NodeSink {
            name: "default".to_owned(),
            state: NodeSinkState::Delivering,
            reason: None,
            message: None,
        }],
        ..CollectorNodeStatus::default()
    }))
}

pub(crate) fn pod(node: &str, ready: bool) -> AgentPod {
    AgentPod {
        node: node.to_owned(),
        uid: format!("pod-of-{node}"),
        ready,
        trouble: None,
    }
}

/// A node whose agent answers.
pub(crate) fn add(index: &mut Index, node: &str, entry: NodeProfile) {
    index.set_node(node, Some(facts()));
    index.set_pod(&format!("weir-agent-{node}"), Some(pod(node, true)));
    index.set_report(node, report(node, vec![entry]));
}

/// Nodes `n0`, `n1` ... that all do what is asked.
pub(crate) fn fleet(size: usize) -> Index {
    let mut index = Index::default();
    for number in 0..size {
        add(
            &mut index,
            &format!("n{number}"),
            entry(NodeProfileState::Live, None),
        );
    }
    index
}
