//! The frame of a test: a cluster with Weir in it before, a bundle when it fails, and nothing left behind after.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterError, checkout};
use crate::operator::{self, OperatorPod};
use crate::profile::Profile;
use crate::wait::{Probe, until};
use crate::workload::{TestNamespace, WorkloadError};
use crate::{bundle, node};

/// What a test returns.
pub type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Everything that a scenario makes carries this label with the scenario's name.
const LABEL: &str = "e2e.weir.dev/scenario";
/// And this one with what tells one run of a test program from another.
const RUN_LABEL: &str = "e2e.weir.dev/run";
/// The longest scenario takes less than half of it. It ends a test that hangs while its bundle can still be collected.
const SCENARIO_LIMIT: Duration = Duration::from_mins(12);
/// The operator's and the broker's images are loaded already: this is patience with a busy machine.
const INSTALL_LIMIT: Duration = Duration::from_secs(90);
/// The profile of `manifests/quickstart`. While it is there, there are agents.
pub const BASELINE: &str = "baseline";

/// The definitions that profiles and sinks need before they can be applied.
const DEFINITIONS: [&str; 3] = [
    "crd/collectorprofiles.weir.dev",
    "crd/collectorsinks.weir.dev",
    "crd/collectornodes.weir.dev",
];

/// What a scenario acts on.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// Names of all nodes that run ordinary pods.
    pub nodes: Vec<String>,
    /// Names of all nodes that agents must be on: those, and others that keep ordinary pods away.
    pub agent_nodes: Vec<String>,
    hostnames: std::collections::BTreeMap<String, String>,
    name: &'static str,
    operator_may_restart: AtomicBool,
}

/// Runs `body` on a cluster with Weir and its quick start; skips loudly where there is no cluster.
///
/// Whichever way it ends, what it made is deleted; when it fails, a bundle is collected first. An operator that was
/// started again meanwhile is a failure, but for scenarios that [expect it](World::operator_may_restart).
pub async fn run(name: &'static str, body: impl AsyncFnOnce(&World) -> TestResult) -> TestResult {
    let Some(cluster) = Cluster::connect_or_skip().await? else {
        return Ok(());
    };
    let nodes = node::list(&cluster).await?;
    let world = World {
        cluster,
        nodes: nodes.workloads,
        agent_nodes: nodes.agents,
        hostnames: nodes.hostnames,
        name,
        operator_may_restart: AtomicBool::new(false),
    };
    // What an earlier run that was killed has left would mislead this one.
    world.clean_up(true).await?;
    let whole = AssertUnwindSafe(async {
        world.install().await?;
        let before = operator::pods(&world.cluster).await?;
        body(&world).await?;
        world.check_operator(&before).await
    })
    .catch_unwind();
    let failure = match tokio::time::timeout(SCENARIO_LIMIT, whole).await {
        Ok(Ok(Ok(()))) => return Ok(world.clean_up(false).await?),
        Ok(Ok(Err(error))) => crate::wait::chain(&*error),
        Ok(Err(panic)) => text_of(&*panic),
        Err(_elapsed) => format!("{name} did not end within {SCENARIO_LIMIT:?}"),
    };
    let place = match bundle::collect(&world.cluster, name).await {
        Ok(folder) => format!("look into {}", folder.display()),
        Err(error) => format!("and no bundle could be collected: {error}"),
    };
    if let Err(error) = world.clean_up(false).await {
        eprintln!("{name}: what it made could not be deleted: {error}");
    }
    Err(format!("{failure}\n{place}").into())
}

impl World {
    /// Applies both kustomizations as a user would, and waits until operator and broker are there.
    ///
    /// An operator that an earlier test gave other settings reads the right ones again.
    pub async fn install(&self) -> TestResult {
        let before = operator::settings_map(&self.cluster).await?;
        self.apply_folder("default").await?;
        self.until_defined().await?;
        self.apply_folder("quickstart").await?;
        let after = operator::settings_map(&self.cluster).await?;
        let same = before["metadata"]["name"] == after["metadata"]["name"];
        // A map of another name is in another template, which restarts the operator by itself.
        if same && before["data"] != after["data"] {
            self.restart_operator().await?;
        }
        self.until_deployed().await
    }

    /// Applies a folder of `manifests` with server-side apply, and takes over what another manager has changed.
    pub async fn apply_folder(&self, folder: &str) -> TestResult {
        let path = manifests(folder);
        let arguments = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--kustomize",
            &path,
        ];
        self.cluster.kubectl(arguments).await?;
        Ok(())
    }

    /// Waits until the API server serves what the definitions define.
    pub async fn until_defined(&self) -> TestResult {
        let mut arguments = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        arguments.extend(DEFINITIONS);
        self.cluster.kubectl(arguments).await?;
        Ok(())
    }

    /// Waits until operator and broker are as their manifests ask.
    pub async fn until_deployed(&self) -> TestResult {
        for (namespace, workload) in [
            ("weir-system", "deployment/weir-operator"),
            ("weir-nats", "statefulset/nats"),
        ] {
            let timeout = format!("--timeout={}s", INSTALL_LIMIT.as_secs());
            let arguments = ["rollout", "status", workload, "--namespace", namespace, &timeout];
            self.cluster.kubectl(arguments).await?;
        }
        Ok(())
    }

    /// Says that this scenario ends operators, or keeps them from their API server for so long that they end themselves.
    pub fn operator_may_restart(&self) {
        self.operator_may_restart.store(true, Ordering::Relaxed);
    }

    async fn check_operator(&self, before: &[OperatorPod]) -> TestResult {
        let crashed = operator::crashed(before, &operator::pods(&self.cluster).await?);
        if crashed.is_empty() || self.operator_may_restart.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(format!("the operator crashed: {}", crashed.join(", ")).into())
    }

    /// The label that selects a node.
    #[must_use]
    pub fn hostname<'a>(&'a self, node: &'a str) -> &'a str {
        self.hostnames.get(node).map_or(node, String::as_str)
    }

    /// Has a cluster-scoped object that a file names deleted with what the scenario makes.
    pub async fn adopt(&self, object: &str) -> TestResult {
        self.label(&["label", "--overwrite", object]).await
    }

    /// As [`Self::adopt`], for a pod or Secret beside the operator.
    pub async fn adopt_in(&self, namespace: &str, object: &str) -> TestResult {
        self.label(&["label", "--overwrite", object, "--namespace", namespace])
            .await
    }

    async fn label(&self, arguments: &[&str]) -> TestResult {
        let mut arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        for (key, value) in self.labels().as_object().into_iter().flatten() {
            arguments.push(format!("{key}={}", value.as_str().unwrap_or_default()));
        }
        self.cluster.kubectl(arguments).await?;
        Ok(())
    }

    /// Applies a profile named after the scenario and `suffix`.
    pub async fn profile(&self, suffix: &str, spec: Value) -> Result<Profile, ClusterError> {
        Profile::apply(&self.cluster, &self.named(suffix), &self.labels(), spec).await
    }

    /// Applies a sink named after the scenario and `suffix`; returns its name.
    pub async fn sink(&self, suffix: &str, spec: Value) -> Result<String, ClusterError> {
        let name = self.named(suffix);
        let sink = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink",
            "metadata": {"name": name, "labels": self.labels()}, "spec": spec,
        });
        self.cluster.apply(&sink.to_string()).await?;
        Ok(name)
    }

    /// Creates a namespace named after the scenario and `suffix`, with `labels` besides the scenario's own.
    pub async fn namespace(&self, suffix: &str, labels: &Value) -> Result<TestNamespace, WorkloadError> {
        let mut all = self.labels();
        for (key, value) in labels.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        TestNamespace::create(&self.cluster, &self.named(suffix), &all).await
    }

    /// A name with `suffix` that no other scenario uses, nor another run of this one: the stream outlives a run.
    #[must_use]
    pub fn named(&self, suffix: &str) -> String {
        format!("e2e-{}-{suffix}-{}", self.name, this_run())
    }

    /// Gives the operator these settings, and restarts it so that it reads them. [`Self::install`] takes them back.
    pub async fn operator_settings(&self, settings: &Value) -> TestResult {
        let map = operator::settings_map(&self.cluster).await?;
        let map = map["metadata"]["name"]
            .as_str()
            .ok_or("the operator has no settings")?;
        // JSON is YAML.
        let patch = json!({"data": {"operator.yaml": settings.to_string()}}).to_string();
        let patch = [
            "patch",
            "configmap",
            map,
            "--namespace=weir-system",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.cluster.kubectl(patch).await?;
        self.restart_operator().await
    }

    async fn restart_operator(&self) -> TestResult {
        for step in ["restart", "status"] {
            let arguments = [
                "rollout",
                step,
                "deployment/weir-operator",
                "--namespace=weir-system",
            ];
            self.cluster.kubectl(arguments).await?;
        }
        Ok(())
    }

    /// Waits until every agent there is has a report, and the profile of the quick start is ready.
    pub async fn baseline(&self) -> TestResult<Profile> {
        let baseline = Profile::existing(&self.cluster, BASELINE);
        baseline.until_ready(INSTALL_LIMIT).await?;
        Ok(baseline)
    }

    /// What everything that the scenario makes is labelled with.
    #[must_use]
    pub fn labels(&self) -> Value {
        json!({LABEL: self.name, RUN_LABEL: this_run()})
    }

    /// Deletes what carries the scenario's label; before a scenario, also what any other run has left, since one program
    /// runs its tests at a time. Definitions may not be installed, before or after an uninstall.
    async fn clean_up(&self, before: bool) -> Result<(), ClusterError> {
        let own = format!("{LABEL}={}", self.name);
        self.delete_labelled(&own).await?;
        if !before {
            return Ok(());
        }
        self.delete_labelled(&format!("{LABEL},{RUN_LABEL}!={}", this_run()))
            .await?;
        let what = format!("the remains of an earlier {}", self.name);
        let gone = until(&what, INSTALL_LIMIT, || async {
            let arguments = ["get", "namespaces", "--selector", &own, "--output=name"];
            let left = self.cluster.kubectl(arguments).await;
            left.map(|left| Probe::when(left.trim().is_empty(), (), left))
        });
        if let Err(error) = gone.await {
            eprintln!("{error}");
        }
        Ok(())
    }

    async fn delete_labelled(&self, selector: &str) -> Result<(), ClusterError> {
        for kinds in [
            "collectorprofiles.weir.dev,collectorsinks.weir.dev",
            "pods,secrets",
            "namespaces",
        ] {
            let mut arguments = vec![
                "delete",
                kinds,
                "--selector",
                selector,
                "--wait=false",
                "--ignore-not-found",
            ];
            // Of namespaced kinds, those beside the operator; the rest goes with the scenario's namespaces.
            if kinds.starts_with("pods") {
                arguments.push("--namespace=weir-system");
            }
            match self.cluster.kubectl(arguments).await {
                Err(ClusterError::Failed { stderr, .. }) if stderr.contains("resource type") => {}
                other => drop(other?),
            }
        }
        Ok(())
    }
}

/// Path of a folder of `manifests`.
#[must_use]
pub fn manifests(folder: &str) -> String {
    checkout().join("manifests").join(folder).display().to_string()
}

/// Tells this process' run from every other: the stream, and after a crash the cluster, outlive it.
fn this_run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        format!("{:05x}{:02x}", seconds & 0xf_ffff, std::process::id() & 0xff)
    })
}

/// What a panic says: assertions are strings of either kind.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_owned()
}
