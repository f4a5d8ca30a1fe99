//! Builds the agents' `DaemonSet` and Secret. Pure.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use k8s_openapi::Resource as _;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
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
    /// Files of sinks that did not fit into the Secret.
    pub left_out: BTreeSet<String>,
    pub(super) stage: PhantomData<Stage>,
}

impl<Stage> Resources<Stage> {
    /// What did not fit, and what to do about it.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let files: Vec<&str> = self.left_out.iter().map(String::as_str).collect();
        (!files.is_empty()).then(|| {
            format!(
                "the Secrets that sinks name are above 1000 KiB together; left out: {}; name fewer or smaller ones",
                files.join(", ")
            )
        })
    }
}

/// Builds them for a namespace.
#[must_use]
pub fn build(
    settings: &Settings,
    image: &str,
    namespace: &str,
    agents: &ValidatedAgents,
) -> Resources<Prepared> {
    let ValidatedAgents {
        owners,
        daemon_set_uid,
        gathered,
        left_out,
    } = agents;
    if owners.is_empty() {
        return Resources {
            secret: None,
            daemon_set: None,
            left_out: BTreeSet::new(),
            stage: PhantomData,
        };
    }
    let metadata = |name: &str, owners: &[OwnerReference]| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(
            LABELS
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        ),
        owner_references: Some(owners.to_vec()),
        ..ObjectMeta::default()
    };
    // With the last profile each object goes by itself, also when no operator runs. The Secret goes with the DaemonSet
    // as soon as there is one: every kubelet gets each change of it, and profiles come and go.
    let secret_owners = match daemon_set_uid {
        Some(uid) => vec![OwnerReference {
            api_version: DaemonSet::API_VERSION.to_owned(),
            kind: DaemonSet::KIND.to_owned(),
            name: AGENT.to_owned(),
            uid: uid.clone(),
            block_owner_deletion: None,
            controller: None,
        }],
        None => owners.clone(),
    };
    let secret = Secret {
        metadata: metadata(GATHERED_SECRET, &secret_owners),
        type_: Some("Opaque".to_owned()),
        data: Some(gathered.clone()),
        ..Secret::default()
    };
    let max_unavailable = match &settings.agent.max_unavailable {
        MaxUnavailable::Nodes(nodes) => IntOrString::Int(*nodes),
        MaxUnavailable::Percent(percent) => IntOrString::String(percent.clone()),
    };
    let daemon_set = DaemonSet {
        metadata: metadata(AGENT, owners),
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
        left_out: left_out.clone(),
        stage: PhantomData,
    }
}
