//! Looks up everything that the agents' objects are made of.

use std::collections::{BTreeMap, BTreeSet};

use kube::Resource;
use kube::api::{Api, ListParams};
use kube::core::ObjectMeta;
use weir_profile::CollectorProfile;
use weir_profile::plan::{GatheredSecret, gathered_secrets, sink_name};

use crate::context::Context;
use crate::controller::profile::Meta;
use crate::error::{ApiError, answer};

/// What the agents' objects depend on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// Name and UID of every profile that is not being deleted.
    pub profiles: BTreeMap<String, String>,
    /// What every readable sink wishes to be gathered.
    pub wanted: Vec<GatheredSecret>,
    /// The labelled Secrets' content, by name and key.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Gathered files of sinks that were deleted while profiles still name them: agents go on with the last good sink.
    pub kept: BTreeMap<String, Vec<u8>>,
    /// How many nodes there are.
    pub nodes: usize,
    /// UID of the `DaemonSet`, if it is there.
    pub daemon_set_uid: Option<String>,
}

pub(super) async fn dereference(context: &Context) -> Result<Inputs, ApiError> {
    let mut profiles: BTreeMap<String, String> = context
        .stores
        .profiles
        .state()
        .iter()
        .filter(|profile| !profile.metadata_deleted())
        .filter_map(|profile| owner(profile.meta()))
        .collect();
    if profiles.is_empty() {
        profiles = confirm_none(context).await?;
    }
    let sinks = context.stores.sinks.state();
    let wanted = sinks
        .iter()
        .filter_map(|sink| sink.0.as_ref().ok())
        .flat_map(gathered_secrets)
        .collect();
    let secrets = context
        .stores
        .secrets
        .state()
        .iter()
        .filter_map(|secret| secret.0.as_ref().ok())
        .filter_map(|secret| {
            let data = secret
                .data
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect();
            Some((secret.metadata.name.clone()?, data))
        })
        .collect();
    let nodes = context.index().node_count();
    Ok(Inputs {
        profiles,
        wanted,
        secrets,
        kept: kept(context),
        nodes,
        daemon_set_uid: context
            .live_daemon_set()
            .filter(|live| live.metadata.deletion_timestamp.is_none())
            .and_then(|live| live.metadata.uid),
    })
}

fn kept(context: &Context) -> BTreeMap<String, Vec<u8>> {
    let there: BTreeSet<String> = context.sink_names().into_iter().collect();
    let named: BTreeSet<String> = context
        .stores
        .profiles
        .state()
        .iter()
        .filter_map(|profile| profile.0.as_ref().ok())
        .map(|profile| sink_name(profile).to_owned())
        .collect();
    let gathered = context.live_gathered();
    let files = gathered.iter().flat_map(|secret| secret.data.iter().flatten());
    files
        // Sinks' names have no dot: what stands before the first one is the sink.
        .filter(|(file, _)| {
            file.split_once('.')
                .is_some_and(|(sink, _)| named.contains(sink) && !there.contains(sink))
        })
        .map(|(file, value)| (file.clone(), value.0.clone()))
        .collect()
}

/// Absence from a cache deletes nothing: the API server itself has to say that there is no profile.
async fn confirm_none(context: &Context) -> Result<BTreeMap<String, String>, ApiError> {
    let api: Api<CollectorProfile> = Api::all(context.client.clone());
    let list = answer(
        "list",
        "CollectorProfiles",
        api.list_metadata(&ListParams::default()),
    )
    .await?;
    Ok(list
        .items
        .iter()
        .filter(|profile| profile.metadata.deletion_timestamp.is_none())
        .filter_map(|profile| owner(&profile.metadata))
        .collect())
}

fn owner(meta: &ObjectMeta) -> Option<(String, String)> {
    Some((meta.name.clone()?, meta.uid.clone()?))
}
