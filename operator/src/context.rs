//! What all controllers share: stores filled by watches, the rollup's index, names to visit, and the ways to write.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use weir_profile::{CollectorProfile, CollectorSink};

use crate::dirty::DirtySet;
use crate::event::Events;
use crate::metrics::Failures;
use crate::names::{AGENT, GATHERED_SECRET, OPERATOR};
use crate::rollup::Index;
use crate::settings::Settings;
use crate::trouble::{Concern, Trouble, Troubles};
use crate::write::Writer;

/// A profile as the API server has it, readable or not.
pub type GuardedProfile = DeserializeGuard<CollectorProfile>;
/// A sink as the API server has it, readable or not.
pub type GuardedSink = DeserializeGuard<CollectorSink>;

/// The two namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespaces {
    /// The operator's own, where sinks' Secrets are.
    pub system: String,
    /// The agents'.
    pub agents: String,
}

/// What watches have seen.
#[derive(Clone)]
pub struct Stores {
    /// All profiles.
    pub profiles: Store<GuardedProfile>,
    /// All sinks.
    pub sinks: Store<GuardedSink>,
    /// Labelled Secrets of the operator's namespace.
    pub secrets: Store<DeserializeGuard<Secret>>,
    /// The gathered Secret, if it is there.
    pub gathered: Store<DeserializeGuard<Secret>>,
    /// The agents' `DaemonSet`, if it is there.
    pub daemon_sets: Store<DeserializeGuard<DaemonSet>>,
}

/// Who needs a visit.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// Profiles by name.
    pub profiles: DirtySet,
    /// Sinks by name.
    pub sinks: DirtySet,
    /// The agents' objects: any name.
    pub agents: DirtySet,
}

/// Shared by all controllers.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Where things are.
    pub namespaces: Namespaces,
    /// The operator's own settings.
    pub settings: Settings,
    /// The agents' image.
    pub image: String,
    /// What watches have seen.
    pub stores: Stores,
    /// Who needs a visit.
    pub dirty: Dirty,
    /// Kubernetes Events.
    pub events: Events,
    /// All writes.
    pub writer: Writer,
    /// What failed and is tried again.
    pub failures: Failures,
    pub(crate) index: Arc<Mutex<Index>>,
    pub(crate) troubles: Troubles,
    pub(crate) crds_trouble: Mutex<Option<String>>,
}

impl Context {
    /// The rollup's index; never held across an await.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes or ends what keeps the operator from its work; every profile is visited when that changes what is told.
    pub fn set_trouble(&self, concern: Concern, trouble: Option<Trouble>) {
        if self.troubles.set(concern, trouble) {
            self.dirty.profiles.add(self.profile_names());
        }
    }

    /// How the installed CRDs differ from those that this operator was built for.
    #[must_use]
    pub fn crds_trouble(&self) -> Option<String> {
        self.crds_trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes how the installed CRDs differ; the agents' objects, which wait for them, are visited when that changed.
    pub fn set_crds_trouble(&self, trouble: Option<String>) {
        let mut held = self.crds_trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != trouble {
            *held = trouble;
            drop(held);
            self.visit_agents();
        }
    }

    /// A warning about the operator itself. It is told of its role, which is where no namespace's Events are needed.
    pub fn tell_of_operator(&self, reason: &str, note: &str) {
        let about = ObjectReference {
            api_version: Some("rbac.authorization.k8s.io/v1".to_owned()),
            kind: Some("ClusterRole".to_owned()),
            name: Some(OPERATOR.to_owned()),
            ..ObjectReference::default()
        };
        self.events.warning(&about, "Run", reason, note);
    }

    /// Names of all profiles.
    #[must_use]
    pub fn profile_names(&self) -> Vec<String> {
        self.stores
            .profiles
            .state()
            .iter()
            .filter_map(|profile| name(profile.as_ref()))
            .collect()
    }

    /// Names of all sinks.
    #[must_use]
    pub fn sink_names(&self) -> Vec<String> {
        self.stores
            .sinks
            .state()
            .iter()
            .filter_map(|sink| name(sink.as_ref()))
            .collect()
    }

    /// The agents' `DaemonSet`.
    #[must_use]
    pub fn daemon_set_api(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<DaemonSet>(&());
        Api::namespaced_with(self.client.clone(), &self.namespaces.agents, &resource)
    }

    /// The agents' namespace's Secrets; only the gathered one is ever touched.
    #[must_use]
    pub fn gathered_api(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<Secret>(&());
        Api::namespaced_with(self.client.clone(), &self.namespaces.agents, &resource)
    }

    /// The `DaemonSet` as last seen.
    #[must_use]
    pub fn live_daemon_set(&self) -> Option<DaemonSet> {
        find(&self.stores.daemon_sets, AGENT)
    }

    /// The gathered Secret as last seen.
    #[must_use]
    pub fn live_gathered(&self) -> Option<Secret> {
        find(&self.stores.gathered, GATHERED_SECRET)
    }

    /// A labelled Secret of the operator's namespace, as last seen.
    #[must_use]
    pub fn labelled_secret(&self, name: &str) -> Option<Secret> {
        find(&self.stores.secrets, name)
    }
}

/// An object that can be read; one that cannot is as good as none, and is applied over.
fn find<K>(store: &Store<DeserializeGuard<K>>, name: &str) -> Option<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    let found = store.find(|object| kube::Resource::meta(object).name.as_deref() == Some(name))?;
    found.0.as_ref().ok().cloned()
}

fn name<K: kube::Resource>(object: &K) -> Option<String> {
    object.meta().name.clone()
}
