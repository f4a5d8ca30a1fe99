//! Faults, and what else only a cluster of our own making can do: `cargo xtask cluster` as a library.

use std::path::PathBuf;

use tokio::process::Command;

use crate::cluster::{Cluster, ClusterError, checkout};
use crate::command::{XTASK_LIMIT, output};
use crate::process;
use crate::skip;

/// `other` says that the cluster is meant to be one without faults of our making, also in CI.
const PROVIDER: &str = "WEIR_E2E_PROVIDER";

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

    /// As [`Self::of`]; where there is none, `why` is said aloud, and in CI it is an error.
    pub fn require(cluster: &Cluster, why: &str) -> Result<Option<Self>, ClusterError> {
        let harness = Self::of(cluster);
        if harness.is_none() {
            unfit(why)?;
        }
        Ok(harness)
    }

    /// The name of the node that was made without tracefs, with the harness; where there is none, that is said aloud, and
    /// in CI it is an error.
    pub fn require_masked(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
        let masked = Self::of(cluster).and_then(|harness| harness.masked_tracefs_node());
        if masked.is_none() {
            unfit(
                "no node of this cluster is without tracefs: `cargo xtask cluster --provider local up --nodes 2 --masked-tracefs-node 2`",
            )?;
        }
        Ok(masked)
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

    /// The node's own bpffs, where a pinned program or map would be.
    pub fn bpffs(&self, node: &str) -> std::io::Result<PathBuf> {
        let pid = std::fs::read_to_string(self.folder.join("pids").join(format!("holder-{node}")))?;
        let pid = pid.split_whitespace().next().unwrap_or_default();
        Ok(PathBuf::from(format!("/proc/{pid}/root/sys/fs/bpf")))
    }

    fn masked_tracefs_node(&self) -> Option<String> {
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
        for process in process::of_pod(uid)? {
            let Some(pid) = i32::try_from(process.pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            else {
                continue;
            };
            match rustix::process::kill_process(pid, rustix::process::Signal::KILL) {
                Ok(()) => killed += 1,
                // It has ended since it was listed.
                Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
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
        output(&mut command, "", XTASK_LIMIT).await.map(drop)
    }
}

fn unfit(why: &str) -> Result<(), ClusterError> {
    let meant = std::env::var(PROVIDER).is_ok_and(|provider| provider == "other");
    if skip::is_ci() && !meant {
        return Err(ClusterError::Unfit(why.to_owned()));
    }
    skip::loudly(why);
    Ok(())
}
