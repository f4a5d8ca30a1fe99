//! Takes a local cluster away whole, also one that crashed half-way up or whose state was deleted.
//!
//! It does not trust records: whatever runs in the cluster's namespaces or cgroups belongs to it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::component::Component;
use super::layout::{Layout, MAX_NODES, OWNER_FILE};
use super::{cgroup, command, kubeconfig, network, node, process};
use crate::family::parent;

/// Fails when another checkout's cluster lives on this machine: the namespaces' names are the same.
pub(crate) fn claim(layout: &Layout) -> Result<()> {
    let Some(owner) = owner() else { return Ok(()) };
    if Path::new(&owner) != layout.root() && Path::new(&owner).exists() && !network::existing()?.is_empty() {
        bail!(
            "the local cluster of {owner} is up, and a machine holds one: `cargo xtask cluster down` in that checkout first"
        );
    }
    Ok(())
}

pub(crate) fn mark_owner(layout: &Layout) -> Result<()> {
    command::write(Path::new(OWNER_FILE), layout.root().display().to_string())
}

/// Whether a local cluster is there that is not another checkout's, also one whose state was deleted.
pub(crate) fn is_there(layout: &Layout) -> Result<bool> {
    let others =
        owner().is_some_and(|owner| Path::new(&owner) != layout.root() && Path::new(&owner).exists());
    Ok(layout.state().exists() || !others && !network::existing()?.is_empty())
}

fn owner() -> Option<String> {
    fs::read_to_string(OWNER_FILE).ok()
}

/// Ends and removes everything. That nothing is there is fine.
pub(crate) fn down(layout: &Layout, kube: &Path) -> Result<()> {
    // In reverse, so that nothing restarts what was just ended; pods go with their cgroups below.
    for component in Component::all(MAX_NODES).into_iter().rev() {
        process::stop(layout, &component.to_string())?;
    }
    let namespaces: Vec<u64> = network::existing()?
        .iter()
        .filter_map(|name| network::inode(name))
        .collect();
    let spared = ourselves();
    process::kill_all(|pid| {
        !spared.contains(&pid)
            && (cgroup::holds(pid) || network_of(pid).is_some_and(|inode| namespaces.contains(&inode)))
    })
    .context("ending what still runs in the cluster")?;
    network::remove().context("removing the cluster's network")?;
    cgroup::remove().context("removing the nodes' cgroups")?;
    if let Some(home) = std::env::var_os("HOME") {
        kubeconfig::withdraw(layout, kube, Path::new(&home))?;
    }
    node::remove_mount_points(layout)?;
    remove_files(layout)?;
    match fs::remove_file(OWNER_FILE) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("removing the owner's mark")
        }
        _ => Ok(()),
    }
}

/// The logs stay for whoever wants to know why; the pause image stays because it never changes.
fn remove_files(layout: &Layout) -> Result<()> {
    let previous = layout.root().join("logs.previous");
    let logs = layout.root().join("logs");
    if logs.exists() {
        command::remove_all(&previous)?;
        fs::rename(&logs, &previous).context("keeping the logs")?;
    }
    let keep = [previous, layout.pause_image()];
    let entries = match fs::read_dir(layout.root()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("listing {}", layout.root().display())),
    };
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| !keep.contains(path))
    {
        if path.is_dir() && !path.is_symlink() {
            command::remove_all(&path)?;
        } else {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

fn network_of(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/net"))
        .ok()
        .map(|metadata| metadata.ino())
}

/// This process and those that wait for it: `down` may have been typed inside the cluster's namespace.
fn ourselves() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    while let Some(parent) = line.last().and_then(|pid| parent(*pid)).filter(|pid| *pid > 1) {
        line.push(parent);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_line_starts_here_and_goes_up() {
        let line = ourselves();
        assert_eq!(line.first(), Some(&std::process::id()));
        assert_eq!(
            line.get(1).copied(),
            Some(std::os::unix::process::parent_id()).filter(|pid| *pid > 1)
        );
    }

    #[test]
    fn files_of_the_cluster_go_and_the_last_logs_stay() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        command::write(&layout.log("etcd"), "why it failed").unwrap();
        command::write(&layout.state(), "{}").unwrap();
        command::write(&layout.pki("ca.crt"), "x").unwrap();
        command::write(&layout.pause_image(), "x").unwrap();
        remove_files(&layout).unwrap();
        assert!(folder.path().join("logs.previous/etcd.log").exists());
        assert!(layout.pause_image().exists());
        assert!(!layout.state().exists() && !layout.pki("ca.crt").exists());
    }
}
