//! Looks up what a sink names: its Secrets, and how many profiles use it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::Api;
use tokio::time::Instant;
use weir_profile::CollectorSink;
use weir_profile::plan::{gathered_secrets, sink_name};

use crate::context::{Context, GuardedSink};
use crate::error::{ApiError, answer};

/// A Secret that is not watched is asked for this often at most: every change of any profile visits every sink.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// A Secret that a sink names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundSecret {
    /// It is there and labelled.
    Labelled(BTreeMap<String, Vec<u8>>),
    /// It is there, and not meant for Weir.
    Unlabelled,
    /// It is not there.
    Missing,
}

/// What a sink depends on besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The Secrets that it names.
    pub secrets: BTreeMap<String, FoundSecret>,
    /// Profiles that deliver to it.
    pub profiles: usize,
}

/// What the API server last said of Secrets that are not watched, by name.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<HashMap<String, (Instant, FoundSecret)>>);

impl Looks {
    fn with<T>(&self, with: impl FnOnce(&mut HashMap<String, (Instant, FoundSecret)>) -> T) -> T {
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        // What is too old goes, so that names which no sink gives any more do not stay.
        looks.retain(|_, (at, _)| now < *at + LOOK_INTERVAL);
        with(&mut looks)
    }

    fn recent(&self, name: &str) -> Option<FoundSecret> {
        self.with(|looks| looks.get(name).map(|(_, found)| found.clone()))
    }

    fn note(&self, name: &str, found: FoundSecret) {
        self.with(|looks| looks.insert(name.to_owned(), (Instant::now(), found)));
    }

    /// The watch knows better now.
    fn forget(&self, name: &str) {
        self.with(|looks| looks.remove(name));
    }
}

pub(super) async fn dereference(
    context: &Context,
    looks: &Looks,
    guarded: &GuardedSink,
) -> Result<Inputs, ApiError> {
    let name = guarded.name_any();
    let profiles = context
        .stores
        .profiles
        .state()
        .iter()
        .filter(|profile| profile.0.as_ref().is_ok_and(|profile| sink_name(profile) == name))
        .count();
    let mut secrets = BTreeMap::new();
    if let Ok(sink) = &guarded.0 {
        for name in named(sink) {
            let found = if let Some(secret) = context.labelled_secret(&name) {
                looks.forget(&name);
                FoundSecret::Labelled(data(&secret))
            } else if let Some(found) = looks.recent(&name) {
                found
            } else {
                let found = unlabelled(context, &name).await?;
                looks.note(&name, found.clone());
                found
            };
            secrets.insert(name, found);
        }
    }
    Ok(Inputs { secrets, profiles })
}

/// Names of all Secrets that a sink names.
fn named(sink: &CollectorSink) -> Vec<String> {
    let mut names: Vec<String> = gathered_secrets(sink)
        .into_iter()
        .map(|secret| secret.secret)
        .collect();
    names.extend(
        sink.spec
            .nats
            .stream
            .admin_credentials_secret_ref
            .as_ref()
            .map(|secret| secret.name.clone()),
    );
    names.sort();
    names.dedup();
    names
}

fn data(secret: &Secret) -> BTreeMap<String, Vec<u8>> {
    secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.0.clone()))
        .collect()
}

/// Only labelled Secrets are watched. Whether an unlabelled one exists is asked of the API server without its content.
async fn unlabelled(context: &Context, name: &str) -> Result<FoundSecret, ApiError> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &context.namespaces.system);
    let found = answer("look at Secret", name, api.get_metadata_opt(name)).await?;
    Ok(if found.is_some() {
        FoundSecret::Unlabelled
    } else {
        FoundSecret::Missing
    })
}
