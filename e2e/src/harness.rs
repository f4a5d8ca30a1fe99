//! Faults, and what else only a cluster of our own making can do: `cargo xtask cluster` as a library.

use std::path::PathBuf;

use tokio::process::Command;

use crate::cluster::{Cluster, ClusterError, checkout, output};

/// The local cluster that `cargo xtask cluster up` made.
#[derive(Debug, Clone)]
pub struct Harness {
    folder: PathBuf,
}

impl Harness {
    /// The harness of `cluster`, or nothing when the cluster is somebody else's.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Option<Self> {
        let folder = cluster.kubeconfig().parent()?.to_path_buf();
        folder.join("state.json").exists().then_some(Self { folder })
    }

    /// Stops a component, by the name that `cargo xtask cluster status` shows: `apiserver`, `kubelet-node2`.
    pub async fn stop(&self, component: &str) -> Result<(), ClusterError> {
        self.xtask(&["stop-component", component]).await
    }

    /// Starts a stopped component.
    pub async fn start(&self, component: &str) -> Result<(), ClusterError> {
        self.xtask(&["start-component", component]).await
    }

    /// Cuts a node off from everything else.
    pub async fn partition(&self, node: &str) -> Result<(), ClusterError> {
        self.xtask(&["partition", node]).await
    }

    /// Joins a node that was cut off.
    pub async fn heal(&self, node: &str) -> Result<(), ClusterError> {
        self.xtask(&["heal", node]).await
    }

    /// Every write that the API server answered, one JSON object a line.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.folder.join("audit.log")
    }

    /// A component's log.
    #[must_use]
    pub fn log(&self, component: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{component}.log"))
    }

    /// Where all components' logs are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The host's view of a path below the node's own `/var/lib/weir`.
    #[must_use]
    pub fn weir_folder(&self, node: &str) -> PathBuf {
        self.folder.join(node).join("weir")
    }

    async fn xtask(&self, arguments: &[&str]) -> Result<(), ClusterError> {
        // `cargo xtask test` names its own binary, so that tests do not wait for cargo's lock.
        let mut command = if let Some(binary) = std::env::var_os("WEIR_XTASK") {
            Command::new(binary)
        } else {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["run", "--quiet", "--package", "xtask", "--"]);
            cargo
        };
        command
            .current_dir(checkout())
            .args(["cluster", "--provider", "local"])
            .args(arguments);
        output(&mut command, "").await.map(drop)
    }
}
