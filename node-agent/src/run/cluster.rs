//! Wires the cluster's side: API server in, drain thread and control side fed, the node's report out.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use weir_profile::CollectorNodeStatus;
use weir_runtime::error::chain;
use weir_runtime::readiness::{Gate, Readiness, State};
use weir_runtime::supervise::Supervisor;

use super::{RunError, system};
use crate::cluster::cache::Cache;
use crate::cluster::status::{Facts, Window, status};
use crate::cluster::{
    Configuration, Identity as ClusterIdentity, Metadata, NodeMeta, OwnNode, SkewLayer, Writer, client,
    is_uninstalled,
};
use crate::config::{Desired, Problem};
use crate::control::view::View;
use crate::control::{Request, Requests};
use crate::drain::{Command, CommandSender};
use crate::enrich::Change;
use crate::publish::PublishHandle;
use crate::state::StateDir;

/// How often sinks' states are looked at for the report.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

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
    let (configuration, desired) =
        Configuration::new(client.clone(), Cache::new(&state_dir), credentials.clone());
    let (metadata, changes) = Metadata::new(client.clone(), identity.node.clone(), credentials.clone());
    let (own_node, node) = OwnNode::new(client.clone(), identity.node.clone(), credentials.clone());
    let own_node = own_node.with_cache(Cache::new(&state_dir));
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
        hand_over(changes, commands, stop)
    });
    let asker = requests.clone();
    endless(supervisor, run("node labels"), |stop| labels(node, asker, stop));
    endless(supervisor, run("desired profiles"), |stop| {
        apply(desired, requests, configured, readiness, problems, stop)
    });
    endless(supervisor, run("status"), |stop| {
        describe(facts, view, publish, (problem, skew), report, stop)
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

async fn hand_over(mut changes: mpsc::Receiver<Change>, commands: CommandSender, stop: CancellationToken) {
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return,
            change = changes.recv() => change,
        };
        let Some(change) = change else {
            return stop.cancelled().await;
        };
        if commands.send(Command::Metadata(change)).await.is_err() {
            return stop.cancelled().await;
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

async fn apply(
    mut desired: watch::Receiver<Option<Desired>>,
    requests: Requests,
    configured: Gate,
    readiness: Readiness,
    problems: watch::Sender<Vec<Problem>>,
    stop: CancellationToken,
) {
    loop {
        let next = desired.borrow_and_update().clone();
        if let Some(Desired {
            plans,
            errors,
            problems: found,
        }) = next
        {
            let state = errors.first().map_or(State::Live, |first| State::Degraded {
                reason: first.clone(),
                remedy: "correct the profile; its last good generation goes on until then".into(),
            });
            readiness.set("profile objects", state, SystemTime::now());
            problems.send_replace(found);
            if requests.send(Request::Apply(plans)).await.is_err() {
                return stop.cancelled().await;
            }
            configured.open();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = desired.changed() => if changed.is_err() {
                return stop.cancelled().await;
            }
        }
    }
}

/// Keeps the report's content current; whether and when it is written is the writer's.
async fn describe(
    facts: Facts,
    view: View,
    publish: PublishHandle,
    (mut problems, mut skew): (watch::Receiver<Vec<Problem>>, watch::Receiver<Option<i64>>),
    told: watch::Sender<Option<CollectorNodeStatus>>,
    stop: CancellationToken,
) {
    let start = Instant::now();
    let mut window = Window::default();
    let (mut changes, mut cuts) = (view.changes(), view.ledgers());
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = changes.changed() => {}
            _ = problems.changed() => {}
            _ = skew.changed() => {}
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
        let next = status(
            &facts,
            &shown,
            &problems.borrow_and_update(),
            &publish.states(),
            &window,
            *skew.borrow_and_update(),
        );
        told.send_if_modified(|current| {
            let differs = current.as_ref() != Some(&next);
            *current = Some(next);
            differs
        });
    }
}
