//! All watches: what each fills, and whom each names for a visit.

use std::sync::{Arc, Mutex};

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer as StoreWriter;
use kube::runtime::watcher::{Config, Event};
use kube::{Client, Resource, ResourceExt};
use tokio_util::sync::CancellationToken;
use weir_runtime::readiness::Readiness;
use weir_runtime::supervise::Supervisor;

use super::infallible;
use crate::context::{Context, Dirty, GuardedProfile, GuardedSink, Namespaces, Stores};
use crate::event::{Events, Publisher};
use crate::metrics::Failures;
use crate::names::{AGENT, GATHERED_SECRET, POD_LABEL, SINK_CREDENTIALS_LABEL};
use crate::rollup::{Index, Touched};
use crate::settings::Settings;
use crate::trouble::Troubles;
use crate::watch::slim::{self, SlimNode, SlimPod, SlimReport};
use crate::watch::{Established, Lists, Seen, WATCH_SECONDS, follow};
use crate::write::Writer;

/// The watches before they run.
pub(super) struct Watches {
    readiness: Readiness,
    profiles: StoreWriter<GuardedProfile>,
    sinks: StoreWriter<GuardedSink>,
    secrets: StoreWriter<DeserializeGuard<Secret>>,
    gathered: StoreWriter<DeserializeGuard<Secret>>,
    daemon_sets: StoreWriter<DeserializeGuard<DaemonSet>>,
}

pub(super) fn prepare(
    client: Client,
    namespaces: Namespaces,
    settings: Settings,
    image: String,
    pod: Option<String>,
    readiness: &Readiness,
) -> (Arc<Context>, Watches, Publisher) {
    let watches = Watches {
        readiness: readiness.clone(),
        profiles: StoreWriter::default(),
        sinks: StoreWriter::default(),
        secrets: StoreWriter::default(),
        gathered: StoreWriter::default(),
        daemon_sets: StoreWriter::default(),
    };
    let stores = Stores {
        profiles: watches.profiles.as_reader(),
        sinks: watches.sinks.as_reader(),
        secrets: watches.secrets.as_reader(),
        gathered: watches.gathered.as_reader(),
        daemon_sets: watches.daemon_sets.as_reader(),
    };
    let (events, publisher) = Events::new(client.clone(), pod);
    let context = Context {
        events,
        client,
        namespaces,
        settings,
        image,
        stores,
        dirty: Dirty::default(),
        writer: Writer::default(),
        failures: Failures::default(),
        index: Arc::new(Mutex::new(Index::default())),
        troubles: Troubles::default(),
        crds_trouble: Mutex::default(),
    };
    (Arc::new(context), watches, publisher)
}

fn watching() -> Config {
    Config::default().timeout(WATCH_SECONDS)
}

/// When the controllers may begin.
pub(super) struct Ready {
    /// Profiles and sinks are known: what can be said of them can be said.
    profiles: Vec<Established>,
    /// Everything else.
    rest: Vec<Established>,
}

impl Ready {
    /// Waits until profiles can be judged, and either everything else is known or something is refused, which is then
    /// every profile's trouble.
    pub(super) async fn for_profiles(&self, context: &Context) {
        for watch in &self.profiles {
            watch.wait().await;
        }
        tokio::select! {
            () = self.for_all() => {}
            () = context.troubles.blind() => {}
        }
    }

    /// Waits until everything is known.
    pub(super) async fn for_all(&self) {
        for watch in self.profiles.iter().chain(&self.rest) {
            watch.wait().await;
        }
    }
}

impl Watches {
    /// Runs them all, once the CRDs are there.
    pub(super) fn spawn(
        self,
        supervisor: &mut Supervisor,
        context: &Arc<Context>,
        installed: &CancellationToken,
        stop: &CancellationToken,
    ) -> Ready {
        // Destructured without `..`, so that a new store cannot be left without a watch.
        let Self {
            readiness,
            profiles,
            sinks,
            secrets,
            gathered,
            daemon_sets,
        } = self;
        let mut all = Vec::new();
        let mut established = |name: &str| {
            let watch = Established::new(readiness.gate(name));
            all.push(watch.clone());
            watch
        };
        let client = || context.client.clone();
        let Namespaces { system, agents } = context.namespaces.clone();
        let named = |name: &str| watching().fields(&format!("metadata.name={name}"));
        macro_rules! watch {
            ($name:literal, $api:expr, $config:expr, $handle:expr) => {
                let (api, config, handle) = ($api, $config, $handle);
                let (watch, installed, stop) = (established($name), installed.clone(), stop.clone());
                let context = Arc::clone(context);
                supervisor.spawn(
                    $name,
                    infallible(async move {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            () = installed.cancelled() => {}
                        }
                        follow(api, config, $name, context, watch, stop, handle).await;
                    }),
                );
            };
        }
        watch!(
            "watch-profiles",
            Api::all(client()),
            watching(),
            on_profiles(context, profiles)
        );
        watch!(
            "watch-sinks",
            Api::all(client()),
            watching(),
            on_sinks(context, sinks)
        );
        let label = format!("{SINK_CREDENTIALS_LABEL}=true");
        let api = Api::namespaced(client(), &system);
        watch!(
            "watch-secrets",
            api,
            watching().labels(&label),
            on_secrets(context, secrets)
        );
        let api = Api::namespaced(client(), &agents);
        watch!(
            "watch-gathered",
            api,
            named(GATHERED_SECRET),
            on_agents(context, gathered)
        );
        let api = Api::namespaced(client(), &agents);
        watch!(
            "watch-daemonset",
            api,
            named(AGENT),
            on_agents(context, daemon_sets)
        );
        let api = Api::<SlimNode>::all_with(client(), &slim::node_resource());
        watch!("watch-nodes", api, watching(), on_nodes(context));
        let api = Api::<SlimPod>::namespaced_with(client(), &agents, &slim::pod_resource());
        let label = format!("{}={}", POD_LABEL.0, POD_LABEL.1);
        watch!("watch-pods", api, watching().labels(&label), on_pods(context));
        let api = Api::<SlimReport>::all_with(client(), &slim::report_resource());
        watch!("watch-reports", api, watching(), on_reports(context));
        // Profiles and sinks are the first two.
        let rest = all.split_off(2);
        Ready { profiles: all, rest }
    }
}

const ANY: [&str; 1] = ["agents"];

impl Context {
    pub(crate) fn visit_agents(&self) {
        self.dirty.agents.add(ANY.map(str::to_owned));
    }

    fn visit(&self, touched: Touched) {
        match touched {
            Touched::None => {}
            Touched::Some(names) => self.dirty.profiles.add(names),
            Touched::All => self.dirty.profiles.add(self.profile_names()),
        }
    }
}

/// Names of the objects that an event speaks of; a complete list speaks of all.
fn spoken_of<K: Resource>(event: &Event<K>) -> Option<String> {
    match event {
        Event::Init | Event::InitDone => None,
        Event::InitApply(object) | Event::Apply(object) | Event::Delete(object) => Some(object.name_any()),
    }
}

fn on_profiles(
    context: &Arc<Context>,
    mut store: StoreWriter<GuardedProfile>,
) -> impl FnMut(Event<GuardedProfile>) + Send + use<> {
    let context = Arc::clone(context);
    move |mut event| {
        if let Event::InitApply(profile) | Event::Apply(profile) = &mut event {
            profile.managed_fields_mut().clear();
        }
        store.apply_watcher_event(&event);
        let deleted = matches!(event, Event::Delete(_));
        match spoken_of(&event) {
            Some(name) if !deleted => context.dirty.profiles.add([name]),
            _ => context.dirty.profiles.add(context.profile_names()),
        }
        // Sinks count their profiles; the agents' objects name them as owners.
        context.dirty.sinks.add(context.sink_names());
        context.visit_agents();
    }
}

fn on_sinks(
    context: &Arc<Context>,
    mut store: StoreWriter<GuardedSink>,
) -> impl FnMut(Event<GuardedSink>) + Send + use<> {
    let context = Arc::clone(context);
    move |mut event| {
        if let Event::InitApply(sink) | Event::Apply(sink) = &mut event {
            sink.managed_fields_mut().clear();
        }
        store.apply_watcher_event(&event);
        context
            .dirty
            .sinks
            .add(spoken_of(&event).map_or_else(|| context.sink_names(), |name| vec![name]));
        context.dirty.profiles.add(context.profile_names());
        context.visit_agents();
    }
}

fn on_secrets(
    context: &Arc<Context>,
    mut store: StoreWriter<DeserializeGuard<Secret>>,
) -> impl FnMut(Event<DeserializeGuard<Secret>>) + Send + use<> {
    let context = Arc::clone(context);
    move |event| {
        store.apply_watcher_event(&event);
        context.dirty.sinks.add(context.sink_names());
        context.visit_agents();
    }
}

/// The agents' own objects: whoever changes them has them set right.
fn on_agents<K>(context: &Arc<Context>, mut store: StoreWriter<K>) -> impl FnMut(Event<K>) + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    let context = Arc::clone(context);
    move |event| {
        store.apply_watcher_event(&event);
        context.visit_agents();
    }
}

fn on_nodes(context: &Arc<Context>) -> impl FnMut(Event<SlimNode>) + Send + use<> {
    let context = Arc::clone(context);
    let mut lists = Lists::default();
    move |event| {
        let Some(seen) = lists.see(event) else { return };
        let mut index = context.index();
        let before = index.node_count();
        let touched = match seen {
            Seen::There(node) => {
                let facts = slim::node_facts(&node, &context.settings.agent);
                index.set_node(&node.name_any(), Some(facts))
            }
            Seen::Gone(node) => index.set_node(&node.name_any(), None),
            Seen::Listed(names) => index.retain_nodes(&names),
        };
        let resized = index.node_count() != before;
        drop(index);
        context.visit(touched);
        if resized {
            context.visit_agents();
        }
    }
}

fn on_pods(context: &Arc<Context>) -> impl FnMut(Event<SlimPod>) + Send + use<> {
    let context = Arc::clone(context);
    let mut lists = Lists::default();
    move |event| {
        let Some(seen) = lists.see(event) else { return };
        let touched = match seen {
            Seen::There(pod) => context.index().set_pod(&pod.name_any(), slim::agent_pod(&pod)),
            Seen::Gone(pod) => context.index().set_pod(&pod.name_any(), None),
            Seen::Listed(names) => context.index().retain_pods(&names),
        };
        context.visit(touched);
    }
}

fn on_reports(context: &Arc<Context>) -> impl FnMut(Event<SlimReport>) + Send + use<> {
    let context = Arc::clone(context);
    let mut lists = Lists::default();
    move |event| {
        let Some(seen) = lists.see(event) else { return };
        let touched = match seen {
            Seen::There(report) => {
                let name = report.name_any();
                context.index().set_report(&name, slim::report(report))
            }
            Seen::Gone(report) => context.index().set_report(&report.name_any(), None),
            Seen::Listed(names) => context.index().retain_reports(&names),
        };
        context.visit(touched);
    }
}
