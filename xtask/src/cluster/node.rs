//! A node's own view of the file system: the usual paths, each backed by a folder of that node alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::capture;

use super::command::in_node;
use super::layout::{Layout, Node};
use super::process::wait_for;

/// Folder below the node's own, and where the node's processes and pods find it.
const FOLDERS: [(&str, &str); 8] = [
    ("kubelet", "/var/lib/kubelet"),
    ("containerd", "/var/lib/containerd"),
    ("run-containerd", "/run/containerd"),
    ("run-netns", "/run/netns"),
    ("cni-conf", "/etc/cni/net.d"),
    ("cni-lib", "/var/lib/cni"),
    ("log", "/var/log"),
    ("weir", "/var/lib/weir"),
];
const TRACEFS: &str = "/sys/kernel/tracing";
const DEBUGFS: &str = "/sys/kernel/debug";
const BPFFS: &str = "/sys/fs/bpf";

/// Waits until the holder has a mount namespace of its own, then arranges it.
///
/// Everything mounted from here on, the containers' file systems included, goes when the namespace's last process
/// does: nothing of it is ever visible to the host.
pub(crate) fn mount(layout: &Layout, node: Node, holder: u32, masked_tracefs: bool) -> Result<()> {
    wait_for("the node's own mount namespace", Duration::from_secs(5), || {
        let theirs = fs::read_link(format!("/proc/{holder}/ns/mnt")).context("the holder is gone")?;
        if theirs == fs::read_link("/proc/self/ns/mnt")? {
            bail!("the holder still shares the host's");
        }
        Ok(())
    })?;
    let run = |arguments: &[&str]| capture(in_node(&node.netns(), holder).args(arguments)).map(drop);
    // Shared again, among this node's processes only: mount propagation into pods needs it.
    run(&["mount", "--make-rshared", "/"])?;
    for (folder, target) in FOLDERS {
        let source = layout.node(node).join(folder);
        fs::create_dir_all(&source).with_context(|| format!("creating {}", source.display()))?;
        make_mount_point(layout, Path::new(target))?;
        run(&["mount", "--bind", &source.display().to_string(), target])?;
    }
    run(&["mount", "-t", "bpf", "bpf", BPFFS])?;
    if masked_tracefs {
        for target in [TRACEFS, DEBUGFS] {
            run(&["mount", "-t", "tmpfs", "-o", "ro,size=0", "masked", target])?;
        }
        return Ok(());
    }
    let mounts = fs::read_to_string(format!("/proc/{holder}/mounts")).context("reading the node's mounts")?;
    if !has_tracefs(&mounts) {
        run(&["mount", "-t", "tracefs", "tracefs", TRACEFS])?;
    }
    Ok(())
}

/// There is one tracefs per kernel, and it cannot be mounted twice in one place: the host may have done it.
fn has_tracefs(mounts: &str) -> bool {
    mounts
        .lines()
        .any(|line| line.split(' ').skip(1).take(2).eq([TRACEFS, "tracefs"]))
}

/// Creates a mount point that the host lacks, and notes it so that it goes with the cluster.
fn make_mount_point(layout: &Layout, target: &Path) -> Result<()> {
    let missing: Vec<&Path> = target.ancestors().take_while(|path| !path.exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(target).with_context(|| format!("creating {}", target.display()))?;
    let mut noted = noted(layout);
    // Deepest first, the order in which they can be removed.
    noted.splice(0..0, missing.into_iter().map(Path::to_path_buf));
    let lines: Vec<String> = noted.iter().map(|path| path.display().to_string()).collect();
    super::command::write(&note(layout), lines.join("\n"))
}

/// Removes the mount points that were created for the nodes, where nothing else uses them by now.
pub(crate) fn remove_mount_points(layout: &Layout) -> Result<()> {
    for path in noted(layout) {
        match fs::remove_dir(&path) {
            Ok(()) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
                ) => {}
            Err(error) => return Err(error).with_context(|| format!("removing {}", path.display())),
        }
    }
    Ok(())
}

fn noted(layout: &Layout) -> Vec<PathBuf> {
    fs::read_to_string(note(layout))
        .unwrap_or_default()
        .lines()
        .map(PathBuf::from)
        .collect()
}

fn note(layout: &Layout) -> PathBuf {
    layout.root().join("created-mount-points")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracefs_counts_only_at_its_place() {
        assert!(has_tracefs(
            "proc /proc proc rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0\n"
        ));
        assert!(!has_tracefs("tracefs /sys/kernel/debug/tracing tracefs rw 0 0\n"));
        assert!(!has_tracefs("tmpfs /sys/kernel/tracing tmpfs ro 0 0\n"));
    }

    #[test]
    fn created_mount_points_go_and_used_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path().join("cluster"));
        let host = folder.path().join("host");
        fs::create_dir(&host).unwrap();
        make_mount_point(&layout, &host.join("a/b")).unwrap();
        make_mount_point(&layout, &host.join("c/d")).unwrap();
        fs::write(host.join("c/someone-elses"), "").unwrap();
        remove_mount_points(&layout).unwrap();
        assert!(!host.join("a").exists());
        assert!(host.join("c/someone-elses").exists());
        assert!(!host.join("c/d").exists());
        assert!(host.exists(), "what was there before stays");
    }
}
