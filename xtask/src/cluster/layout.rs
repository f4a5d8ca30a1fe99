//! Where everything of the local cluster is: addresses, names, folders. Pure; it touches nothing.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Nodes share one machine; more than this many only makes it slow.
pub(crate) const MAX_NODES: u8 = 8;
/// The control plane's network namespace. It is not a node: no pod runs there.
pub(crate) const CONTROL_NETNS: &str = "weir-node0";
/// The bridge in the control plane's namespace that every node is plugged into.
pub(crate) const BRIDGE: &str = "node0";
pub(crate) const CONTROL_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 97, 0, 1);
pub(crate) const NODE_PREFIX: u8 = 24;
pub(crate) const API_PORT: u16 = 6443;
/// First choice for the API server's port on the host's loopback; the next free one is taken when it is in use.
pub(crate) const HOST_API_PORT: u16 = 16443;
pub(crate) const SERVICE_CIDR: &str = "10.96.0.0/16";
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
pub(crate) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
pub(crate) const POD_CIDR: &str = "10.244.0.0/16";
pub(crate) const CONTEXT: &str = "weir-local";
/// Names the checkout whose cluster holds this machine's namespaces, so that another checkout does not end it.
pub(crate) const OWNER_FILE: &str = "/run/weir-cluster-owner";

/// A node by its number, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node(pub(crate) u8);

impl Node {
    pub(crate) fn all(count: u8) -> impl Iterator<Item = Self> {
        (1..=count).map(Self)
    }

    /// Parses `node2`.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let number = name.strip_prefix("node")?.parse().ok()?;
        (1..=MAX_NODES).contains(&number).then_some(Self(number))
    }

    pub(crate) fn name(self) -> String {
        format!("node{}", self.0)
    }

    pub(crate) fn netns(self) -> String {
        format!("weir-node{}", self.0)
    }

    pub(crate) fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 97, 0, 10 + self.0)
    }

    pub(crate) fn pod_cidr(self) -> String {
        format!("10.244.{}.0/24", self.0)
    }

    /// The node's cgroup below the root of each hierarchy, without the leading slash.
    pub(crate) fn cgroup(self) -> String {
        format!("weir-node{}", self.0)
    }
}

/// The folders of one checkout's cluster, all below `target/cluster`.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    pub(crate) fn config(&self, file: &str) -> PathBuf {
        self.root.join("config").join(file)
    }

    pub(crate) fn pid(&self, component: &str) -> PathBuf {
        self.root.join("pids").join(component)
    }

    pub(crate) fn log(&self, component: &str) -> PathBuf {
        self.root.join("logs").join(format!("{component}.log"))
    }

    pub(crate) fn etcd_data(&self) -> PathBuf {
        self.root.join("etcd")
    }

    /// Every write to the API server, one JSON object a line.
    pub(crate) fn audit_log(&self) -> PathBuf {
        self.root.join("audit.log")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// For people and tests: reaches the API server through the host's loopback.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// For commands inside the cluster's network namespace.
    pub(crate) fn inner_kubeconfig(&self) -> PathBuf {
        self.config("admin.kubeconfig")
    }

    /// The pause image, built once and loaded into every node.
    pub(crate) fn pause_image(&self) -> PathBuf {
        self.root.join("pause.tar")
    }

    pub(crate) fn node(&self, node: Node) -> PathBuf {
        self.root.join(node.name())
    }

    pub(crate) fn resolv_conf(&self) -> PathBuf {
        self.config("resolv.conf")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_name_parses_back() {
        for node in Node::all(MAX_NODES) {
            assert_eq!(Node::parse(&node.name()), Some(node));
        }
    }

    #[test]
    fn node_out_of_range_is_refused() {
        for name in ["node0", "node9", "node", "2", "node-1", "node300"] {
            assert_eq!(Node::parse(name), None, "{name}");
        }
    }

    #[test]
    fn nodes_share_neither_address_nor_pods() {
        let (first, second) = (Node(1), Node(2));
        assert_ne!(first.address(), second.address());
        assert_ne!(first.pod_cidr(), second.pod_cidr());
        assert_ne!(first.cgroup(), second.cgroup());
    }
}
