//! The cluster's network namespaces: one for the control plane with a bridge, one per node plugged into it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell::capture;

use super::command::in_netns;
use super::layout::{BRIDGE, CONTROL_ADDRESS, CONTROL_NETNS, NODE_PREFIX, Node, SERVICE_CIDR};

const NETNS_FOLDER: &str = "/run/netns";
const PREFIX: &str = "weir-node";

/// Creates all namespaces, with routes so that every pod of every node reaches every other by its own address.
pub(crate) fn create(nodes: u8) -> Result<()> {
    ip(&["netns", "add", CONTROL_NETNS])?;
    forwarding(CONTROL_NETNS)?;
    inside(CONTROL_NETNS, &["link", "set", "lo", "up"])?;
    inside(CONTROL_NETNS, &["link", "add", BRIDGE, "type", "bridge"])?;
    inside(
        CONTROL_NETNS,
        &[
            "address",
            "add",
            &format!("{CONTROL_ADDRESS}/{NODE_PREFIX}"),
            "dev",
            BRIDGE,
        ],
    )?;
    inside(CONTROL_NETNS, &["link", "set", BRIDGE, "up"])?;
    for node in Node::all(nodes) {
        plug_in(node)?;
    }
    // The control plane runs no kube-proxy: the first node's translates service addresses for it.
    inside(
        CONTROL_NETNS,
        &[
            "route",
            "add",
            SERVICE_CIDR,
            "via",
            &Node(1).address().to_string(),
        ],
    )?;
    for node in Node::all(nodes) {
        inside(
            CONTROL_NETNS,
            &[
                "route",
                "add",
                &node.pod_cidr(),
                "via",
                &node.address().to_string(),
            ],
        )?;
        for other in Node::all(nodes).filter(|other| *other != node) {
            inside(
                &node.netns(),
                &[
                    "route",
                    "add",
                    &other.pod_cidr(),
                    "via",
                    &other.address().to_string(),
                ],
            )?;
        }
    }
    Ok(())
}

fn plug_in(node: Node) -> Result<()> {
    let netns = node.netns();
    let port = node.name();
    ip(&["netns", "add", &netns])?;
    forwarding(&netns)?;
    inside(&netns, &["link", "set", "lo", "up"])?;
    inside(
        CONTROL_NETNS,
        &[
            "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &netns,
        ],
    )?;
    inside(CONTROL_NETNS, &["link", "set", &port, "master", BRIDGE])?;
    inside(CONTROL_NETNS, &["link", "set", &port, "up"])?;
    inside(
        &netns,
        &[
            "address",
            "add",
            &format!("{}/{NODE_PREFIX}", node.address()),
            "dev",
            "eth0",
        ],
    )?;
    inside(&netns, &["link", "set", "eth0", "up"])?;
    inside(
        &netns,
        &["route", "add", "default", "via", &CONTROL_ADDRESS.to_string()],
    )
}

/// Cuts a node off from everything else, or joins it again.
pub(crate) fn set_connected(node: Node, connected: bool) -> Result<()> {
    inside(
        CONTROL_NETNS,
        &["link", "set", &node.name(), if connected { "up" } else { "down" }],
    )
}

/// Whether the node's port on the bridge is up.
pub(crate) fn is_connected(node: Node) -> Result<bool> {
    let text = capture(Command::new("ip").args(["-n", CONTROL_NETNS, "-o", "link", "show", &node.name()]))?;
    Ok(text.contains("state UP"))
}

/// The namespaces of a local cluster that exist now, whoever created them.
pub(crate) fn existing() -> Result<Vec<String>> {
    let entries = match fs::read_dir(NETNS_FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("listing network namespaces"),
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| is_ours(name)).collect())
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

/// What `/proc/PID/ns/net` of a process in the namespace says, or nothing where the namespace is gone.
pub(crate) fn inode(netns: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(Path::new(NETNS_FOLDER).join(netns))
        .ok()
        .map(|metadata| metadata.ino())
}

/// Removes the namespaces. What still runs in one keeps it alive without a name, so processes go first.
pub(crate) fn remove() -> Result<()> {
    for name in existing()? {
        ip(&["netns", "delete", &name])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    capture(Command::new("ip").args(arguments)).map(drop)
}

fn inside(netns: &str, arguments: &[&str]) -> Result<()> {
    capture(Command::new("ip").args(["-n", netns]).args(arguments)).map(drop)
}

fn forwarding(netns: &str) -> Result<()> {
    capture(in_netns(netns).args(["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_namespaces_are_ours() {
        for (name, ours) in [
            ("weir-node0", true),
            ("weir-node12", true),
            ("weir-node", false),
            ("weir-node1x", false),
            ("cni-1", false),
        ] {
            assert_eq!(is_ours(name), ours, "{name}");
        }
    }
}
