//! Builds the agents' `DaemonSet` and Secret. Pure.

use std::marker::PhantomData;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;

use super::{ValidatedAgents, pod_template};
use crate::controller::Prepared;
use crate::names::{AGENT, GATHERED_SECRET, LABELS, POD_LABEL};
use crate::settings::{MaxUnavailable, Settings};

/// An agent that fails soon after its start stops the roll-out while most nodes still run the old one.
const MIN_READY_SECONDS: i32 = 15;

/// The agents' objects, both or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources<Stage> {
    /// Mounted by the `DaemonSet`'s pods, so that it is applied first.
    pub secret: Option<Secret>,
    /// One pod per node.
    pub daemon_set: Option<DaemonSet>,
    pub(super) stage: PhantomData<Stage>,
}

/// Builds them for a namespace.
#[must_use]
pub fn build(
    settings: &Settings,
    image: &str,
    namespace: &str,
    agents: &ValidatedAgents,
) -> Resources<Prepared> {
    let ValidatedAgents { owners, gathered } = agents;
    if owners.is_empty() {
        return Resources {
            secret: None,
            daemon_set: None,
            stage: PhantomData,
        };
    }
    let metadata = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(
            LABELS
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        // With its last profile each object goes by itself, also when no operator runs.
        owner_references: Some(owners.clone()),
        ..ObjectMeta::default()
    };
    let secret = Secret {
        metadata: metadata(GATHERED_SECRET),
        type_: Some("Opaque".to_owned()),
        data: Some(gathered.clone()),
        ..Secret::default()
    };
    let max_unavailable = match &settings.agent.max_unavailable {
        MaxUnavailable::Nodes(nodes) => IntOrString::Int(*nodes),
        MaxUnavailable::Percent(percent) => IntOrString::String(percent.clone()),
    };
    let daemon_set = DaemonSet {
        metadata: metadata(AGENT),
        spec: Some(DaemonSetSpec {
            min_ready_seconds: Some(MIN_READY_SECONDS),
            revision_history_limit: Some(5),
            selector: LabelSelector {
                match_labels: Some(
                    [(POD_LABEL.0.to_owned(), POD_LABEL.1.to_owned())]
                        .into_iter()
                        .collect(),
                ),
                ..LabelSelector::default()
            },
            template: pod_template(settings, image),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(max_unavailable),
                    // Two agents on one node would attach twice and fight for the state directory.
                    max_surge: Some(IntOrString::Int(0)),
                }),
            }),
        }),
        status: None,
    };
    Resources {
        secret: Some(secret),
        daemon_set: Some(daemon_set),
        stage: PhantomData,
    }
}
