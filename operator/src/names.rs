//! Names that the cluster sees: field managers, objects, labels, keys, paths. They are API and never change lightly.

/// Field manager of what the operator creates.
pub const MANAGER: &str = "weir-operator";
/// Field manager of the status that the operator writes.
pub const STATUS_MANAGER: &str = "weir-operator-status";
/// The operator's roles.
pub const OPERATOR: &str = "weir-operator";
/// Controller name in Events.
pub const REPORTER: &str = "weir-operator";
/// The Lease that the leader holds.
pub const LEASE: &str = "weir-operator";
/// Annotation of the Lease by which an instance without election says that it acts, too.
pub const SECOND: &str = "weir.dev/second-operator";
/// The agents' `DaemonSet`, its container, and their `ServiceAccount`.
pub const AGENT: &str = "weir-agent";
/// The Secret in the agents' namespace into which sinks' credentials are gathered.
pub const GATHERED_SECRET: &str = "weir-agent-sinks";
/// Key of the gathered Secret that holds the fleet's size, rounded up to a power of ten. Sink files are
/// `<sink>.<key>`, so that a key without a dot never meets one.
pub const FLEET_SIZE_KEY: &str = "fleet-size";
/// Label (value `true`) without which a Secret is never read into a sink.
pub const SINK_CREDENTIALS_LABEL: &str = "weir.dev/sink-credentials";
/// Annotation with the digest of what was last applied: a field that is no longer wished is noticed by it.
pub const APPLIED_DIGEST: &str = "weir.dev/applied-digest";
/// Taken by probes and scrapers of the agents' pods.
pub const AGENT_ADMIN_PORT: u16 = 9464;
/// Where the gathered Secret is mounted in agents.
pub const CREDENTIALS_DIR: &str = "/etc/weir/sinks";
/// Where agents keep their state, on the node and in the pod.
pub const STATE_DIR: &str = "/var/lib/weir";

/// Labels of everything that the operator creates, besides those that select pods.
pub const LABELS: [(&str, &str); 3] = [
    ("app.kubernetes.io/name", AGENT),
    ("app.kubernetes.io/part-of", "weir"),
    ("app.kubernetes.io/managed-by", MANAGER),
];
/// The one label that the `DaemonSet` selects its pods by; immutable.
pub const POD_LABEL: (&str, &str) = ("app.kubernetes.io/name", AGENT);
