//! Each node's own root in every cgroup hierarchy of the machine: v1, v2, or both side by side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::Node;

/// What runs on the node outside any pod: kubelet, containerd, kube-proxy.
const SYSTEM: &str = "system";
/// A v1 cpuset without these admits no process.
const CPUSET_FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    v2: bool,
}

/// Creates the node's root and the group of its system processes in every hierarchy.
pub(crate) fn create(node: Node) -> Result<()> {
    for hierarchy in hierarchies()? {
        let root = hierarchy.mount.join(node.cgroup());
        if hierarchy.v2 {
            delegate(&hierarchy.mount)?;
            make(&root)?;
            delegate(&root)?;
            make(&root.join(SYSTEM))?;
        } else {
            for group in [root.clone(), root.join(SYSTEM)] {
                make(&group)?;
                copy_cpuset(&hierarchy.mount, &group)?;
            }
        }
    }
    Ok(())
}

/// Moves a system process of the node to where it belongs, so that it counts as this node's and no other's.
pub(crate) fn join(node: Node, pid: u32) -> Result<()> {
    for hierarchy in hierarchies()? {
        let file = hierarchy
            .mount
            .join(node.cgroup())
            .join(SYSTEM)
            .join("cgroup.procs");
        fs::write(&file, pid.to_string())
            .with_context(|| format!("moving process {pid} to {}", file.display()))?;
    }
    Ok(())
}

/// Whether a process is in some node's cgroups.
pub(crate) fn holds(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.lines().any(is_in_node))
}

/// One line of `/proc/PID/cgroup`: `NUMBER:CONTROLLERS:PATH`.
fn is_in_node(line: &str) -> bool {
    let Some(path) = line.splitn(3, ':').nth(2) else {
        return false;
    };
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    is_node_group(first)
}

fn is_node_group(name: &str) -> bool {
    name.strip_prefix("weir-").and_then(Node::parse).is_some()
}

/// Removes all nodes' groups, whoever created them. Their processes must be gone.
pub(crate) fn remove() -> Result<()> {
    for hierarchy in hierarchies()? {
        let entries = fs::read_dir(&hierarchy.mount)
            .with_context(|| format!("listing {}", hierarchy.mount.display()))?;
        for entry in entries.flatten() {
            if entry.file_name().to_str().is_some_and(is_node_group) {
                remove_tree(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// Groups are removed from the leaves up; their files go with them.
fn remove_tree(group: &Path) -> Result<()> {
    let entries = match fs::read_dir(group) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("listing {}", group.display())),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    // A killed process leaves its group a moment after it is gone from /proc.
    super::process::wait_for(
        "an empty cgroup",
        std::time::Duration::from_secs(5),
        || match fs::remove_dir(group) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", group.display()))
            }
            _ => Ok(()),
        },
    )
}

fn make(group: &Path) -> Result<()> {
    fs::create_dir_all(group).with_context(|| format!("creating the cgroup {}", group.display()))
}

/// Lets the children of a v2 group use every controller that it has itself.
fn delegate(group: &Path) -> Result<()> {
    let available = fs::read_to_string(group.join("cgroup.controllers"))
        .with_context(|| format!("reading the controllers of {}", group.display()))?;
    for controller in available.split_whitespace() {
        let file = group.join("cgroup.subtree_control");
        fs::write(&file, format!("+{controller}"))
            .with_context(|| format!("enabling {controller} in {}", file.display()))?;
    }
    Ok(())
}

fn copy_cpuset(root: &Path, group: &Path) -> Result<()> {
    for name in CPUSET_FILES {
        if let Ok(value) = fs::read_to_string(root.join(name)) {
            let file = group.join(name);
            fs::write(&file, value.trim()).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    Ok(parse_mounts(&mounts))
}

fn parse_mounts(mounts: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(mount), Some(kind)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = PathBuf::from(mount);
        if mount.starts_with("/sys/fs/cgroup") && matches!(kind, "cgroup" | "cgroup2") {
            let hierarchy = Hierarchy {
                mount,
                v2: kind == "cgroup2",
            };
            if !found.contains(&hierarchy) {
                found.push(hierarchy);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_mounts_give_both_versions() {
        let text = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                    cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup2 /mnt/other cgroup2 rw 0 0\n";
        let found = parse_mounts(text);
        let expected =
            [("/sys/fs/cgroup/cpu", false), ("/sys/fs/cgroup/unified", true)].map(|(mount, v2)| Hierarchy {
                mount: mount.into(),
                v2,
            });
        assert_eq!(found, expected);
    }

    #[test]
    fn pure_v2_mount_is_found() {
        let found = parse_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
        assert_eq!(
            found,
            [Hierarchy {
                mount: "/sys/fs/cgroup".into(),
                v2: true
            }]
        );
    }

    #[test]
    fn only_processes_below_a_node_root_are_the_nodes() {
        for (line, expected) in [
            ("0::/weir-node2/kubepods/burstable/podX/abc", true),
            ("4:memory:/weir-node1", true),
            ("0::/", false),
            ("0::/kubepods/weir-node1", false),
            ("1:name=systemd:/weir-nodes", false),
        ] {
            assert_eq!(is_in_node(line), expected, "{line}");
        }
    }
}
