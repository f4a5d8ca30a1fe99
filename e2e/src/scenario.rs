//! The frame of a test: a cluster with Weir in it before, a bundle when it fails, and nothing left behind after.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};

use crate::bundle;
use crate::cluster::{Cluster, ClusterError, checkout};
use crate::profile::Profile;
use crate::wait::{Probe, until};
use crate::workload::{TestNamespace, WorkloadError};

/// What a test returns.
pub type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Everything that a scenario makes carries this label with the scenario's name.
const LABEL: &str = "e2e.weir.dev/scenario";
/// The operator's and the broker's images are loaded already: this is patience with a busy machine.
const INSTALL_LIMIT: Duration = Duration::from_secs(90);
/// The profile of `manifests/quickstart`. While it is there, there are agents.
pub const BASELINE: &str = "baseline";

/// What a scenario acts on.
pub struct World {
    /// The cluster.
    pub cluster: Cluster,
    /// Names of all nodes that run ordinary pods.
    pub nodes: Vec<String>,
    name: &'static str,
    run: String,
}

/// Runs `body` on a cluster with Weir and its quick start; skips loudly where there is no cluster.
///
/// Whichever way it ends, what it made is deleted; when it fails, a bundle is collected first.
pub async fn run(name: &'static str, body: impl AsyncFnOnce(&World) -> TestResult) -> TestResult {
    let Some(cluster) = Cluster::connect_or_skip().await? else {
        return Ok(());
    };
    let nodes = nodes(&cluster).await?;
    let run = format!("{:05x}", unix_seconds() & 0xf_ffff);
    let world = World {
        cluster,
        nodes,
        name,
        run,
    };
    // What an earlier run that was killed has left would mislead this one.
    world.clean_up(true).await?;
    let outcome = AssertUnwindSafe(async {
        world.install().await?;
        body(&world).await
    })
    .catch_unwind()
    .await;
    let failure = match outcome {
        Ok(Ok(())) => return Ok(world.clean_up(false).await?),
        Ok(Err(error)) => crate::wait::chain(&*error),
        Err(panic) => text_of(&*panic),
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
    pub async fn install(&self) -> TestResult {
        for folder in ["default", "quickstart"] {
            let path = checkout().join("manifests").join(folder).display().to_string();
            self.cluster
                .kubectl([
                    "apply",
                    "--server-side",
                    "--force-conflicts",
                    "--kustomize",
                    &path,
                ])
                .await?;
        }
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
        format!("e2e-{}-{suffix}-{}", self.name, self.run)
    }

    /// Gives the operator these settings, and restarts it so that it reads them.
    pub async fn operator_settings(&self, settings: &Value) -> TestResult {
        let all = ["get", "configmaps", "--namespace=weir-system", "--output=name"];
        let maps = self.cluster.kubectl(all).await?;
        let map = maps.lines().find(|name| name.contains("weir-operator-settings"));
        let map = map.ok_or("the operator has no settings")?;
        // JSON is YAML.
        let patch = json!({"data": {"operator.yaml": settings.to_string()}}).to_string();
        let patch = [
            "patch",
            map,
            "--namespace=weir-system",
            "--type=merge",
            "--patch",
            &patch,
        ];
        self.cluster.kubectl(patch).await?;
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

    fn labels(&self) -> Value {
        json!({LABEL: self.name})
    }

    /// Deletes what carries the scenario's label. Definitions may not be installed, before or after an uninstall.
    async fn clean_up(&self, before: bool) -> Result<(), ClusterError> {
        let selector = format!("{LABEL}={}", self.name);
        for kinds in ["collectorprofiles.weir.dev,collectorsinks.weir.dev", "namespaces"] {
            let arguments = [
                "delete",
                kinds,
                "--selector",
                &selector,
                "--wait=false",
                "--ignore-not-found",
            ];
            match self.cluster.kubectl(arguments).await {
                Err(ClusterError::Failed { stderr, .. }) if stderr.contains("resource type") => {}
                other => drop(other?),
            }
        }
        if before {
            let what = format!("the remains of an earlier {}", self.name);
            let gone = until(&what, INSTALL_LIMIT, || async {
                let arguments = ["get", "namespaces", "--selector", &selector, "--output=name"];
                let left = self.cluster.kubectl(arguments).await;
                left.map(|left| Probe::when(left.trim().is_empty(), (), left))
            });
            if let Err(error) = gone.await {
                eprintln!("{error}");
            }
        }
        Ok(())
    }
}

/// Nodes without a taint that keeps ordinary pods away.
async fn nodes(cluster: &Cluster) -> Result<Vec<String>, ClusterError> {
    let path = "jsonpath={range .items[*]}{.metadata.name} {.spec.taints[*].effect}{'\\n'}{end}";
    let text = cluster.kubectl(["get", "nodes", "--output", path]).await?;
    let free = text.lines().filter(|line| !line.contains("NoSchedule"));
    Ok(free
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

fn unix_seconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// What a panic says: assertions are strings of either kind.
fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without a message")
        .to_owned()
}
