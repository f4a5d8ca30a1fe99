//! Wires the cluster's side: API server in, drain thread and control side fed, the node's report out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use weir_profile::CollectorNodeStatus;
use weir_runtime::error::chain;
use weir_runtime::readiness::{Gate, Readiness, State};
use weir_runtime::supervise::Supervisor;

use super::{RunError, system};
use crate::cluster::cache::Cache;
use crate::cluster::keep::keep;
use crate::cluster::status::{Facts, Fitted, LeftOut, Sources, Window, status};
use crate::cluster::{
    Configuration, Fleet, Identity as ClusterIdentity, Metadata, NodeMeta, OwnNode, SkewLayer, Writer,
    client, is_uninstalled,
};
use crate::config::{Desired, Problem};
use crate::control::view::View;
use crate::control::{Request, Requests};
use crate::drain::{Command, CommandSender};
use crate::enrich::Change;
use crate::publish::PublishHandle;
use crate::state::StateDir;

/// How often sinks' states are looked at for the report.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the first profiles wait for pods and namespaces, without which events of workloads out of scope are
/// delivered as `late`: many times what the lists take from an API server that is there.
const METADATA_WAIT: Duration = Duration::from_secs(2);

/// What the wiring joins.
pub(super) struct Parts {
    pub(super) identity: ClusterIdentity,
    pub(super) state_dir: PathBuf,
    pub(super) credentials: PathBuf,
    pub(super) requests: Requests,
    pub(super) commands: CommandSender,
    pub(super) configured: Gate,
    pub(super) readiness: Readiness,
    pub(super) view: View,
    pub(super) publish: PublishHandle,
    pub(super) epoch: u64,
    pub(super) boot_id: String,
    pub(super) stop: CancellationToken,
}

/// Who we are, as the pod's environment says.
pub(super) fn identity() -> Result<ClusterIdentity, RunError> {
    ClusterIdentity::from_variables(|name| std::env::var(name).ok()).map_err(system("run in a cluster"))
}

/// Clears this node of what the agent kept, if its `DaemonSet` is going: nothing comes after it.
pub(super) async fn purge_if_uninstalled(
    client: &kube::Client,
    identity: &ClusterIdentity,
    state: &StateDir,
) {
    let cache = Cache::new(state.path());
    match is_uninstalled(client, identity).await {
        Ok(false) => return,
        Ok(true) => {}
        // The roles go together with everything else when all is uninstalled. Without a profile the DaemonSet goes in
        // any case, and an agent that is wrong here loses nothing but its place in the count of epochs.
        Err(error) if matches!(cache.load(), Ok(None)) => {
            tracing::info!(%error, "cannot tell whether the DaemonSet is going; no profile is left, so it is");
        }
        Err(error) => {
            tracing::warn!(%error, "cannot tell whether the DaemonSet is going; this node's state stays");
            return;
        }
    }
    let purged = cache.purge_all().map_err(|error| chain(&error));
    match purged.and_then(|()| state.purge().map_err(|error| chain(&error))) {
        Ok(()) => tracing::info!("the DaemonSet is going: this node's state is cleared"),
        Err(error) => tracing::warn!(
            error,
            "the DaemonSet is going, and this node's state cannot be cleared"
        ),
    }
}

/// Starts every task. Returns the client, for the end.
pub(super) fn follow(supervisor: &mut Supervisor, parts: Parts) -> Result<kube::Client, RunError> {
    let Parts {
        identity,
        state_dir,
        credentials,
        requests,
        commands,
        configured,
        readiness,
        view,
        publish,
        epoch,
        boot_id,
        stop,
    } = parts;
    let (layer, skew) = SkewLayer::new();
    let client = client(&layer).map_err(system("reach the API server"))?;
    // One delay for all: the fleet's agents do not start together, and this one's pods are there before its profiles.
    let delay = Fleet::read(&credentials).spread(rand::random());
    let cache = Cache::new(&state_dir);
    let (configuration, desired) = Configuration::new(client.clone(), cache.clone(), credentials.clone());
    let configuration = configuration.after(delay);
    let (metadata, changes) = Metadata::new(client.clone(), identity.node.clone(), credentials.clone());
    let (metadata, kept_changes) = metadata.after(delay).with_cache(cache.clone());
    let (own_node, node) = OwnNode::new(client.clone(), identity.node.clone(), credentials.clone());
    let own_node = own_node.with_cache(cache.clone()).after(delay);
    let (metadata_listed, listed) = watch::channel(false);
    let ended = ended(&cache);
    let (problems, problem) = watch::channel(Vec::new());
    let (report, reported) = watch::channel(None);
    let gate = readiness.gate("node report");
    let writer = Writer::new(
        client.clone(),
        identity.node.clone(),
        credentials,
        node.clone(),
        reported,
        gate,
    );
    let facts = Facts {
        pod_uid: identity.pod_uid.clone(),
        epoch,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        boot_id,
    };
    let run = |task: &'static str| (task, stop.clone());
    endless(supervisor, run("configuration"), |stop| configuration.run(stop));
    endless(supervisor, run("pod metadata"), |stop| metadata.run(stop));
    endless(supervisor, run("own node"), |stop| own_node.run(stop));
    endless(supervisor, run("node report"), |stop| writer.run(stop));
    endless(supervisor, run("metadata changes"), |stop| {
        hand_over(kept_changes, changes, commands, metadata_listed, stop)
    });
    let (asker, labels_of) = (requests.clone(), node.clone());
    endless(supervisor, run("node labels"), |stop| {
        labels(labels_of, asker, stop)
    });
    let ends = view.ends();
    endless(supervisor, run("expired profiles"), |stop| async move {
        let store = move |ended| cache.store_ended(ended);
        stop.run_until_cancelled(keep("expired profiles", ends, Duration::ZERO, store))
            .await;
        // What is kept may end before everything else does.
        stop.cancelled().await;
    });
    let applier = Applier {
        requests,
        configured,
        readiness,
        problems,
    };
    endless(supervisor, run("desired profiles"), |stop| async move {
        stop.run_until_cancelled(applier.run(ended, listed, desired))
            .await;
        stop.cancelled().await;
    });
    endless(supervisor, run("status"), |stop| {
        let followed = Followed {
            problems: problem,
            skew,
            node,
        };
        describe(facts, view, publish, followed, report, stop)
    });
    Ok(client)
}

/// Supervises a task that ends only when it is stopped.
fn endless<F>(
    supervisor: &mut Supervisor,
    (name, stop): (&'static str, CancellationToken),
    task: impl FnOnce(CancellationToken) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let task = task(stop);
    supervisor.spawn(name, async move {
        task.await;
        Ok::<_, String>(())
    });
}

/// What expired in a former life.
fn ended(cache: &Cache) -> BTreeMap<String, i64> {
    let kept = cache.load_ended().unwrap_or_else(|error| {
        tracing::warn!(
            error = chain(&error),
            "starting without knowing which profiles expired before"
        );
        None
    });
    kept.unwrap_or_default()
}

/// Tells the drain thread of pods and namespaces: first as they were kept, then as they come. `listed` becomes true once
/// it was told complete lists of this life.
async fn hand_over(
    kept: Vec<Change>,
    mut changes: mpsc::Receiver<Change>,
    commands: CommandSender,
    listed: watch::Sender<bool>,
    stop: CancellationToken,
) {
    for change in kept {
        if commands.send(Command::Metadata(change)).await.is_err() {
            return stop.cancelled().await;
        }
    }
    let (mut pods, mut namespaces) = (false, false);
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        let Some(change) = change else {
            return stop.cancelled().await;
        };
        pods |= matches!(change, Change::Pods(_));
        namespaces |= matches!(change, Change::Namespaces(_));
        if commands.send(Command::Metadata(change)).await.is_err() {
            return stop.cancelled().await;
        }
        if pods && namespaces {
            listed.send_if_modified(|listed| !std::mem::replace(listed, true));
        }
    }
}

async fn labels(mut node: watch::Receiver<Option<NodeMeta>>, requests: Requests, stop: CancellationToken) {
    loop {
        let labels = node.borrow_and_update().as_ref().map(|node| node.labels.clone());
        if let Some(labels) = labels
            && requests.send(Request::Labels(labels)).await.is_err()
        {
            return stop.cancelled().await;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = node.changed() => if changed.is_err() {
                return stop.cancelled().await;
            }
        }
    }
}

/// Hands the profiles that are wanted to the control side.
struct Applier {
    requests: Requests,
    configured: Gate,
    readiness: Readiness,
    problems: watch::Sender<Vec<Problem>>,
}

impl Applier {
    /// Runs until whoever it talks to is gone. The first profiles come after what expired before, and after `listed`, or
    /// [`METADATA_WAIT`] where the API server takes longer.
    async fn run(
        self,
        ended: BTreeMap<String, i64>,
        mut listed: watch::Receiver<bool>,
        mut desired: watch::Receiver<Option<Desired>>,
    ) {
        if self.requests.send(Request::Ended(ended)).await.is_err() {
            return;
        }
        if desired.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let waited = tokio::time::timeout(METADATA_WAIT, listed.wait_for(|listed| *listed));
        if waited.await.is_err() {
            tracing::info!(
                "profiles start before this node's pods are listed; until then those that were kept are taken"
            );
        }
        loop {
            let next = desired.borrow_and_update().clone();
            if let Some(next) = next
                && !self.apply(next).await
            {
                return;
            }
            if desired.changed().await.is_err() {
                return;
            }
        }
    }

    /// False if the control side is gone.
    async fn apply(
        &self,
        Desired {
            plans,
            errors,
            problems,
        }: Desired,
    ) -> bool {
        let state = errors.first().map_or(State::Live, |first| State::Degraded {
            reason: first.clone(),
            remedy: "correct the profile; its last good generation goes on until then".into(),
        });
        self.readiness.set("profile objects", state, SystemTime::now());
        self.problems.send_replace(problems);
        if self.requests.send(Request::Apply(plans)).await.is_err() {
            return false;
        }
        self.configured.open();
        true
    }
}

/// What the report's content follows, besides what runs and how sinks do.
struct Followed {
    problems: watch::Receiver<Vec<Problem>>,
    skew: watch::Receiver<Option<i64>>,
    node: watch::Receiver<Option<NodeMeta>>,
}

/// Keeps the report's content current; whether and when it is written is the writer's.
async fn describe(
    facts: Facts,
    view: View,
    publish: PublishHandle,
    Followed {
        mut problems,
        mut skew,
        mut node,
    }: Followed,
    told: watch::Sender<Option<CollectorNodeStatus>>,
    stop: CancellationToken,
) {
    let start = Instant::now();
    let mut window = Window::default();
    let mut told_left_out = false;
    let (mut changes, mut cuts) = (view.changes(), view.ledgers());
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = changes.changed() => {}
            _ = problems.changed() => {}
            _ = skew.changed() => {}
            _ = node.changed() => {}
            _ = look.tick() => {}
            _ = cuts.changed() => {
                let ledger = cuts.borrow_and_update().clone();
                if let Some(ledger) = ledger {
                    let now_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                    window.push(now_ms, Arc::clone(&ledger));
                }
            }
        }
        let shown = view.shown();
        // Nothing was placed yet: there is nothing true to say.
        if shown.version == 0 {
            continue;
        }
        let node = node.borrow_and_update().clone();
        let sinks = publish.states();
        let Fitted {
            status: next,
            left_out,
        } = status(
            &facts,
            Sources {
                shown: &shown,
                problems: &problems.borrow_and_update(),
                labels: node.as_ref().map(|node| &node.labels),
                sinks: &sinks,
                window: &window,
                clock_skew_seconds: *skew.borrow_and_update(),
            },
        );
        let is_left_out = left_out != LeftOut::default();
        if is_left_out && !told_left_out {
            tracing::warn!(
                profiles = left_out.profiles,
                sinks = left_out.sinks,
                "the node's report has no room for all profiles that select the node and their sinks; profiles of the \
                 lowest priority are left out"
            );
        }
        told_left_out = is_left_out;
        told.send_if_modified(|current| {
            let differs = current.as_ref() != Some(&next);
            *current = Some(next);
            differs
        });
    }
}

#[cfg(test)]
mod tests;
