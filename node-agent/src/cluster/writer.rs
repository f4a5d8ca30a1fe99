//! Writes the node's report, its `CollectorNode`, when [`Report`] says so.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use weir_profile::api::API_VERSION;
use weir_profile::{CollectorNode, CollectorNodeStatus};
use weir_runtime::backoff::Backoff;
use weir_runtime::error::chain;
use weir_runtime::readiness::Gate;

use super::FIELD_MANAGER;
use super::fleet::Fleet;
use super::node_meta::NodeMeta;
use super::report::Report;

const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// An unwritten state older than this closes the gate.
const PENDING_MAX: Duration = Duration::from_secs(30);
/// How often what is pending is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Why a write did not happen. It is tried again.
#[derive(Debug, Error)]
enum WriteError {
    #[error("the API server refused the CollectorNode")]
    Object(#[source] kube::Error),
    #[error("the API server refused the CollectorNode's status")]
    Status(#[source] kube::Error),
    #[error("the own CollectorNode cannot be read")]
    Read(#[source] kube::Error),
    #[error("the own Node could not be read yet, which must own the CollectorNode")]
    NoNode,
    #[error("the API server did not answer within {} s", WRITE_TIMEOUT.as_secs())]
    Timeout,
}

/// The task.
#[derive(Debug)]
pub struct Writer {
    api: Api<CollectorNode>,
    name: String,
    credentials: PathBuf,
    node: watch::Receiver<Option<NodeMeta>>,
    status: watch::Receiver<Option<CollectorNodeStatus>>,
    gate: Gate,
    start: Instant,
    /// UID of the Node that owns the object as it was made.
    made_for: Option<String>,
}

impl Writer {
    /// Reports for the node `name`. `status` is what the node does now, with exact rates; writing it any number of
    /// times costs nothing. `gate` is open while the API server has this life's latest state, or has missed it for at
    /// most 30 s.
    #[must_use]
    pub fn new(
        client: Client,
        name: String,
        credentials: PathBuf,
        node: watch::Receiver<Option<NodeMeta>>,
        status: watch::Receiver<Option<CollectorNodeStatus>>,
        gate: Gate,
    ) -> Self {
        let api = Api::all(client);
        Self {
            api,
            name,
            credentials,
            node,
            status,
            gate,
            start: Instant::now(),
            made_for: None,
        }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn follow(&mut self) {
        let mut report = Report::new(Fleet::read(&self.credentials));
        let mut retry = Backoff::new(RETRY_FIRST, Fleet::read(&self.credentials).retry_cap());
        let mut not_before = Instant::now();
        let mut reread_at = Instant::now() + Fleet::read(&self.credentials).reread_interval(rand::random());
        let mut status = self.status.clone();
        status.mark_changed();
        let mut node = self.node.clone();
        let mut written_once = false;
        loop {
            let now_ms = self.now_ms();
            let due = report
                .due_ms(now_ms)
                .map(|due| (self.start + Duration::from_millis(due)).max(not_before));
            let look = report.look_ms().map(|at| self.start + Duration::from_millis(at));
            let pending = report
                .unwritten_since_ms()
                .map(|since| now_ms.saturating_sub(since));
            self.gate.set(
                written_once && pending.is_none_or(|pending| Duration::from_millis(pending) <= PENDING_MAX),
            );
            tokio::select! {
                changed = status.changed() => {
                    if changed.is_err() {
                        // Whoever makes the status is gone: the agent is shutting down.
                        return;
                    }
                    let latest = status.borrow_and_update().clone();
                    if let Some(latest) = latest {
                        report.set_fleet(Fleet::read(&self.credentials));
                        report.update(latest, rand::random(), self.now_ms());
                    }
                }
                () = sleep_until(due.unwrap_or(reread_at)), if due.is_some() => {
                    match self.write(&mut report).await {
                        Ok(()) => {
                            retry.reset();
                            written_once = true;
                        }
                        Err(error) => {
                            tracing::warn!(error = chain(&error), "the node's report is not written; it is tried again");
                            not_before = Instant::now() + retry.next(rand::random());
                        }
                    }
                }
                () = sleep_until(reread_at) => {
                    reread_at = Instant::now() + Fleet::read(&self.credentials).reread_interval(rand::random());
                    if let Err(error) = self.reread(&mut report).await {
                        tracing::debug!(error = chain(&error), "the own report was not read");
                    }
                }
                changed = node.changed() => {
                    if changed.is_err() {
                        // Whoever reads the Node is gone: the agent is shutting down.
                        return;
                    }
                    let uid = node.borrow_and_update().as_ref().map(|node| node.uid.clone());
                    if self.made_for.is_some() && uid.is_some() && self.made_for != uid {
                        tracing::info!("the Node was made anew; so is its report, which went with it");
                        report.found(None, self.now_ms());
                    }
                }
                () = sleep_until(look.unwrap_or(reread_at)), if look.is_some() => {
                    report.look(rand::random(), self.now_ms());
                }
                () = tokio::time::sleep(TICK), if pending.is_some() => {}
            }
        }
    }

    async fn write(&mut self, report: &mut Report) -> Result<(), WriteError> {
        let Some(status) = report.current().cloned() else {
            return Ok(());
        };
        let node = self.node.borrow().clone();
        // Without its Node's UID the object would have no owner and outlive the Node.
        let node = if let Some(node) = node {
            node
        } else {
            self.node_known().await?
        };
        if self.made_for.as_ref() != Some(&node.uid) {
            self.make(&node).await?;
            self.made_for = Some(node.uid.clone());
        }
        match self.write_status(&status).await {
            Ok(()) => {}
            Err(WriteError::Status(error)) if is_not_found(&error) => {
                self.make(&node).await?;
                self.write_status(&status).await?;
            }
            Err(error) => return Err(error),
        }
        report.written(status, self.now_ms());
        Ok(())
    }

    async fn node_known(&mut self) -> Result<NodeMeta, WriteError> {
        let known = timeout(WRITE_TIMEOUT, self.node.wait_for(Option::is_some)).await;
        known
            .ok()
            .and_then(Result::ok)
            .and_then(|known| known.clone())
            .ok_or(WriteError::NoNode)
    }

    async fn make(&self, node: &NodeMeta) -> Result<(), WriteError> {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": self.name, "uid": node.uid});
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "CollectorNode",
            "metadata": {"name": self.name, "ownerReferences": [owner]},
            "spec": {},
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object);
        let made = timeout(WRITE_TIMEOUT, self.api.patch(&self.name, &parameters, &patch)).await;
        made.map_err(|_elapsed| WriteError::Timeout)?
            .map_err(WriteError::Object)
            .map(drop)
    }

    async fn write_status(&self, status: &CollectorNodeStatus) -> Result<(), WriteError> {
        let object = json!({
            "apiVersion": API_VERSION,
            "kind": "CollectorNode",
            "metadata": {"name": self.name},
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&object);
        let written = timeout(
            WRITE_TIMEOUT,
            self.api.patch_status(&self.name, &parameters, &patch),
        )
        .await;
        written
            .map_err(|_elapsed| WriteError::Timeout)?
            .map_err(WriteError::Status)
            .map(drop)
    }

    async fn reread(&self, report: &mut Report) -> Result<(), WriteError> {
        let found = timeout(WRITE_TIMEOUT, self.api.get_opt(&self.name)).await;
        let found = found
            .map_err(|_elapsed| WriteError::Timeout)?
            .map_err(WriteError::Read)?;
        report.found(found.and_then(|found| found.status), self.now_ms());
        Ok(())
    }
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

#[cfg(test)]
mod tests;
