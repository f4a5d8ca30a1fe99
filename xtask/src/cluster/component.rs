//! The cluster's processes: their names and command lines.

use std::fmt;
use std::path::Path;

use super::layout::{API_PORT, CONTROL_ADDRESS, Layout, Node, POD_CIDR, SERVICE_CIDR};

/// One long-running process of the local cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    Etcd,
    Apiserver,
    ControllerManager,
    Scheduler,
    Coredns,
    /// Listens on the host's loopback for the API server.
    Forward,
    /// Keeps a node's mount namespace while none of its other processes run.
    Holder(Node),
    Containerd(Node),
    Kubelet(Node),
    Proxy(Node),
}

impl Component {
    /// All of a cluster's, in the order in which they can be started.
    pub(crate) fn all(nodes: u8) -> Vec<Self> {
        let mut all = vec![Self::Etcd, Self::Apiserver, Self::Forward];
        all.extend(Node::all(nodes).flat_map(|node| [Self::Holder(node), Self::Containerd(node)]));
        all.extend([Self::ControllerManager, Self::Scheduler, Self::Coredns]);
        all.extend(Node::all(nodes).flat_map(|node| [Self::Kubelet(node), Self::Proxy(node)]));
        all
    }

    /// The node it belongs to.
    pub(crate) fn node(self) -> Option<Node> {
        match self {
            Self::Holder(node) | Self::Containerd(node) | Self::Kubelet(node) | Self::Proxy(node) => {
                Some(node)
            }
            Self::Etcd
            | Self::Apiserver
            | Self::ControllerManager
            | Self::Scheduler
            | Self::Coredns
            | Self::Forward => None,
        }
    }

    /// Program and arguments; `kube` is the binary that holds the Kubernetes components.
    pub(crate) fn command_line(self, layout: &Layout, kube: &Path) -> Vec<String> {
        let file = |name: &str| layout.config(name).display().to_string();
        let kube = |component: &str, rest: Vec<String>| {
            let mut line = vec![kube.display().to_string(), component.to_owned()];
            line.extend(rest);
            line
        };
        match self {
            Self::Etcd => kube("etcd", etcd(layout)),
            Self::Apiserver => kube("kube-apiserver", apiserver(layout)),
            Self::ControllerManager => kube("kube-controller-manager", controller_manager(layout)),
            Self::Scheduler => {
                let config = file("scheduler.kubeconfig");
                kube(
                    "kube-scheduler",
                    vec![format!("--kubeconfig={config}"), "--leader-elect=false".into()],
                )
            }
            Self::Coredns => kube("coredns", vec!["-conf".into(), file("Corefile")]),
            Self::Forward => kube("forward", vec![format!("{CONTROL_ADDRESS}:{API_PORT}")]),
            Self::Holder(_) => ["unshare", "--mount", "--propagation=private", "sleep", "infinity"]
                .map(str::to_owned)
                .into(),
            Self::Containerd(node) => {
                vec![
                    "containerd".into(),
                    "--config".into(),
                    file(&format!("{}.containerd.toml", node.name())),
                ]
            }
            Self::Kubelet(node) => kube("kubelet", kubelet(layout, node)),
            Self::Proxy(node) => kube(
                "kube-proxy",
                vec![format!(
                    "--config={}",
                    file(&format!("{}.proxy.yaml", node.name()))
                )],
            ),
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Etcd => f.write_str("etcd"),
            Self::Apiserver => f.write_str("apiserver"),
            Self::ControllerManager => f.write_str("controller-manager"),
            Self::Scheduler => f.write_str("scheduler"),
            Self::Coredns => f.write_str("coredns"),
            Self::Forward => f.write_str("forward"),
            Self::Holder(node) => write!(f, "holder-{}", node.name()),
            Self::Containerd(node) => write!(f, "containerd-{}", node.name()),
            Self::Kubelet(node) => write!(f, "kubelet-{}", node.name()),
            Self::Proxy(node) => write!(f, "proxy-{}", node.name()),
        }
    }
}

fn etcd(layout: &Layout) -> Vec<String> {
    vec![
        "--name=weir".into(),
        format!("--data-dir={}", layout.etcd_data().display()),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2380".into(),
        "--initial-cluster=weir=http://127.0.0.1:2380".into(),
        // The data is thrown away with the cluster: nothing is gained by waiting for the disk.
        "--unsafe-no-fsync".into(),
    ]
}

fn apiserver(layout: &Layout) -> Vec<String> {
    let pki = |file: &str| layout.pki(file).display().to_string();
    vec![
        "--etcd-servers=http://127.0.0.1:2379".into(),
        format!("--advertise-address={CONTROL_ADDRESS}"),
        format!("--secure-port={API_PORT}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-account-key-file={}", pki("service-account.pub")),
        format!(
            "--service-account-signing-key-file={}",
            pki("service-account.key")
        ),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged".into(),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        format!("--kubelet-client-certificate={}", pki("apiserver-kubelet.crt")),
        format!("--kubelet-client-key={}", pki("apiserver-kubelet.key")),
        // Otherwise `kubectl logs` looks the node's name up in DNS.
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!(
            "--audit-policy-file={}",
            layout.config("audit-policy.yaml").display()
        ),
        format!("--audit-log-path={}", layout.audit_log().display()),
        // Blocking, so that a test that counts writes sees each one that was answered.
        "--audit-log-mode=blocking".into(),
        // In MB. Left alone, it is renamed at 100, and whoever reads on from a place in it finds nothing.
        "--audit-log-maxsize=100000".into(),
    ]
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    let config = layout.config("controller-manager.kubeconfig");
    vec![
        format!("--kubeconfig={}", config.display()),
        "--bind-address=127.0.0.1".into(),
        "--leader-elect=false".into(),
        "--use-service-account-credentials".into(),
        format!("--root-ca-file={}", layout.pki("ca.crt").display()),
        format!(
            "--service-account-private-key-file={}",
            layout.pki("service-account.key").display()
        ),
        format!("--cluster-cidr={POD_CIDR}"),
    ]
}

fn kubelet(layout: &Layout, node: Node) -> Vec<String> {
    let name = node.name();
    vec![
        format!(
            "--config={}",
            layout.config(&format!("{name}.kubelet.yaml")).display()
        ),
        format!(
            "--kubeconfig={}",
            layout.config(&format!("{name}.kubeconfig")).display()
        ),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", node.address()),
        "--root-dir=/var/lib/kubelet".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::layout::MAX_NODES;
    use super::*;

    #[test]
    fn every_component_has_a_name_of_its_own() {
        let mut names: Vec<String> = Component::all(MAX_NODES)
            .iter()
            .map(ToString::to_string)
            .collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn holder_starts_before_what_lives_in_its_namespace() {
        let all = Component::all(2);
        for node in Node::all(2) {
            let place = |wanted| all.iter().position(|component| *component == wanted).unwrap();
            assert!(place(Component::Holder(node)) < place(Component::Containerd(node)));
            assert!(place(Component::Containerd(node)) < place(Component::Kubelet(node)));
        }
    }
}
