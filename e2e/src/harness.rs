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

    /// The node that was made without tracefs, if there is one.
    #[must_use]
    pub fn masked_tracefs_node(&self) -> Option<String> {
        let state = std::fs::read_to_string(self.folder.join("state.json")).ok()?;
        let state: serde_json::Value = serde_json::from_str(&state).ok()?;
        let number = state["maskedTracefsNode"].as_u64()?;
        Some(format!("node{number}"))
    }

    /// Folders of a pod's cgroups, in every hierarchy.
    pub fn cgroups_of(&self, uid: &str) -> std::io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                // Gone since its name was read.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.contains(uid) || name.contains(&uid.replace('-', "_")) {
                    found.push(entry.path());
                } else {
                    folders.push(entry.path());
                }
            }
        }
        Ok(found)
    }

    /// Kills every process of a pod's containers with SIGKILL, but not what holds its namespaces: what a crash does.
    pub fn kill_pod(&self, uid: &str) -> std::io::Result<()> {
        let mut killed = 0;
        for process in std::fs::read_dir("/proc")? {
            let folder = process?.path();
            let Some(pid) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                continue;
            };
            // Either may be gone already.
            let cgroup = std::fs::read_to_string(folder.join("cgroup")).unwrap_or_default();
            let command = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let own = cgroup.contains(uid) || cgroup.contains(&uid.replace('-', "_"));
            if own
                && command.trim() != "pause"
                && let Some(pid) = rustix::process::Pid::from_raw(pid)
            {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
                killed += 1;
            }
        }
        if killed == 0 {
            return Err(std::io::Error::other(format!("the pod {uid} has no process")));
        }
        Ok(())
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
