//! The components' configuration files.

use std::path::Path;

use anyhow::Result;

use super::command::write;
use super::layout::{CONTROL_ADDRESS, DNS_SERVICE, Layout, Node, POD_CIDR};

/// The image that holds a pod's namespaces, built by this program from `e2e/cluster/pause.rs`.
pub(crate) const PAUSE_IMAGE: &str = "weir.local/pause:1";

/// Debian's place for the CNI plugins, then everybody else's.
const CNI_FOLDERS: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

/// Tests count what Weir's service accounts write; everything else is noise.
const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, update, patch, delete, deletecollection]
- level: None
";

/// Writes the files of all components.
pub(crate) fn write_all(layout: &Layout, nodes: u8) -> Result<()> {
    write(&layout.config("audit-policy.yaml"), AUDIT_POLICY)?;
    write(
        &layout.config("Corefile"),
        corefile(&layout.config("coredns.kubeconfig")),
    )?;
    write(&layout.config("dns.yaml"), dns_objects())?;
    // Pods get their own from the kubelet; the node itself has nobody to ask.
    write(&layout.config("node.resolv.conf"), "")?;
    let search = "search svc.cluster.local cluster.local\noptions ndots:5\n";
    write(
        &layout.resolv_conf(),
        format!("nameserver {CONTROL_ADDRESS}\n{search}"),
    )?;
    for node in Node::all(nodes) {
        let name = node.name();
        write(
            &layout.config(&format!("{name}.kubelet.yaml")),
            kubelet(layout, node),
        )?;
        write(&layout.config(&format!("{name}.proxy.yaml")), proxy(layout, node))?;
        write(&layout.config(&format!("{name}.containerd.toml")), containerd())?;
        write(&layout.node(node).join("cni-conf/10-weir.conflist"), cni(node))?;
    }
    Ok(())
}

fn kubelet(layout: &Layout, node: Node) -> String {
    let name = node.name();
    let pki = |file: &str| layout.pki(file).display().to_string();
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: {address}
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {authority}}}
authorization: {{mode: Webhook}}
tlsCertFile: {certificate}
tlsPrivateKeyFile: {key}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /{cgroup}
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [{DNS_SERVICE}]
resolvConf: {resolv}
volumePluginDir: /var/lib/kubelet/volume-plugins
imageGCHighThresholdPercent: 100
evictionHard:
  memory.available: 50Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
",
        address = node.address(),
        authority = pki("ca.crt"),
        certificate = pki(&format!("kubelet-{name}.crt")),
        key = pki(&format!("kubelet-{name}.key")),
        cgroup = node.cgroup(),
        resolv = layout.config("node.resolv.conf").display(),
    )
}

fn proxy(layout: &Layout, node: Node) -> String {
    // A conntrack size of 0 leaves the limit alone, which a network namespace of one's own may not set.
    format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {{kubeconfig: {config}}}
hostnameOverride: {name}
bindAddress: {address}
clusterCIDR: {POD_CIDR}
conntrack: {{maxPerCore: 0}}
",
        config = layout.config("proxy.kubeconfig").display(),
        name = node.name(),
        address = node.address(),
    )
}

/// The node's mount namespace puts the node's own folders at containerd's usual places, so none is named here.
fn containerd() -> String {
    let plugins = cni_plugins().unwrap_or(CNI_FOLDERS[0]);
    format!(
        r#"version = 2
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a lower score is refused, and every sandbox would fail.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#
    )
}

/// Where the CNI plugins are.
pub(crate) fn cni_plugins() -> Option<&'static str> {
    CNI_FOLDERS.into_iter().find(|folder| {
        ["ptp", "host-local", "loopback"]
            .iter()
            .all(|name| Path::new(folder).join(name).exists())
    })
}

/// Each pod has a routed pair of its own (`ptp`): on a bridge, a reply between two pods of one node would bypass
/// kube-proxy's translation.
fn cni(node: Node) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "weir", "plugins": [{{"type": "ptp", "ipMasq": false, "ipam":
  {{"type": "host-local", "ranges": [[{{"subnet": "{}"}}]], "routes": [{{"dst": "0.0.0.0/0"}}]}}}}]}}
"#,
        node.pod_cidr()
    )
}

/// Names outside the cluster do not exist here: there is nobody to forward them to.
fn corefile(kubeconfig: &Path) -> String {
    format!(
        ".:53 {{
    errors
    ready {CONTROL_ADDRESS}:8181
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {}
        ttl 5
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
",
        kubeconfig.display()
    )
}

/// `CoreDNS` runs beside the API server; pods reach it by the usual service.
fn dns_objects() -> String {
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: 'system:coredns'}}
rules:
- {{apiGroups: [''], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}}
- {{apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: 'system:coredns'}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:coredns'}}
subjects:
- {{apiGroup: rbac.authorization.k8s.io, kind: User, name: 'system:coredns'}}
---
apiVersion: v1
kind: Service
metadata: {{name: kube-dns, namespace: kube-system}}
spec:
  clusterIP: {DNS_SERVICE}
  ports:
  - {{name: dns, port: 53, protocol: UDP}}
  - {{name: dns-tcp, port: 53, protocol: TCP}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {{kubernetes.io/service-name: kube-dns, endpointslice.kubernetes.io/managed-by: weir-local}}
addressType: IPv4
endpoints:
- {{addresses: [{CONTROL_ADDRESS}], conditions: {{ready: true}}}}
ports:
- {{name: dns, port: 53, protocol: UDP}}
- {{name: dns-tcp, port: 53, protocol: TCP}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_differ_in_cgroup_root_address_and_pods() {
        let layout = Layout::new("/x");
        let (first, second) = (kubelet(&layout, Node(1)), kubelet(&layout, Node(2)));
        assert!(
            first.contains("cgroupRoot: /weir-node1\n") && first.contains("address: 10.97.0.11\n"),
            "{first}"
        );
        assert!(second.contains("cgroupRoot: /weir-node2\n"), "{second}");
        assert!(cni(Node(2)).contains("10.244.2.0/24"));
    }

    #[test]
    fn cni_configuration_is_json() {
        let value: serde_json::Value = serde_json::from_str(&cni(Node(1))).unwrap();
        assert_eq!(
            value["plugins"][0]["ipam"]["ranges"][0][0]["subnet"],
            "10.244.1.0/24"
        );
    }
}
