//! Commands inside the cluster's namespaces, and the two file operations that everything here needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// A command inside a named network namespace.
///
/// `nsenter` and not `ip netns exec`: the latter mounts a new /sys, in which the cgroup mounts are missing.
pub(crate) fn in_netns(netns: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{netns}")).arg("--");
    command
}

/// A command inside a node: its network namespace and the mount namespace of the process `holder`.
pub(crate) fn in_node(netns: &str, holder: u32) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{netns}"))
        .arg(format!("--mount=/proc/{holder}/ns/mnt"))
        .arg("--");
    command
}

/// Removes a folder and all below it; that it is missing is fine.
pub(crate) fn remove_all(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
