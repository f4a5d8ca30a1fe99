//! `CollectorSink`: where events go; profiles share it.
#![expect(
    clippy::duplicated_attributes,
    reason = "each printcolumn is a list of its own"
)]

use kube::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::rule::{Rule, attach};
use super::{Condition, Quantity};

closed_enum! {
    /// Who makes the `JetStream` stream.
    pub enum Manage {
        /// Weir makes it when it is missing, and never shrinks or replaces it.
        Ensure = "Ensure",
        /// Somebody else makes it; Weir only checks it, where the user may look.
        External = "External",
    }
}

closed_enum! {
    /// Where the stream is kept.
    pub enum Storage {
        /// On disk.
        File = "File",
        /// In the server's memory.
        Memory = "Memory",
    }
}

closed_enum! {
    /// How events are written.
    pub enum Encoding {
        /// `CloudEvents` 1.0 JSON batches.
        Json = "Json",
        /// `weir.v1` protobuf.
        Protobuf = "Protobuf",
    }
}

closed_enum! {
    /// How messages are compressed.
    pub enum Compression {
        /// Not at all.
        None = "None",
        /// With zstd.
        Zstd = "Zstd",
    }
}

closed_enum! {
    /// What gives way when the spool is full.
    pub enum WhenFull {
        /// The oldest events of the lowest priority.
        ShedOldest = "ShedOldest",
        /// The newest events of the lowest priority.
        ShedNewest = "ShedNewest",
    }
}

/// Where events go, how they are written, and what happens while it cannot be reached.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "weir.dev",
    version = "v1alpha1",
    kind = "CollectorSink",
    plural = "collectorsinks",
    shortname = "csink",
    category = "weir",
    status = "CollectorSinkStatus",
    derive = "PartialEq",
    doc = "Where events go, how they are written, and what happens while it cannot be reached.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the stream is there as asked for"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why"
    ),
    printcolumn(name = "Stream", type_ = "string", json_path = ".spec.nats.stream.name"),
    printcolumn(
        name = "Encoding",
        type_ = "string",
        json_path = ".spec.encoding",
        description = "Json (also when empty) or Protobuf"
    ),
    printcolumn(
        name = "Profiles",
        type_ = "integer",
        json_path = ".status.profiles",
        description = "Profiles that use it"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct CollectorSinkSpec {
    /// The NATS `JetStream` server and stream.
    pub nats: NatsSink,
    /// How events are written; absent means Json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// How messages are compressed; absent means None. A compressed message has the header `content-encoding: zstd`;
    /// one that would not get smaller is sent as it is, without the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// How many events share a message; absent means at most 4096 events, 256Ki and 5 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// Not in this release: a sink that sets it is refused as `InvalidSpec`. What cannot be delivered waits in memory,
    /// and is shed by priority when that is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<Spool>,
}

/// A NATS `JetStream` stream and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct NatsSink {
    /// Servers of one cluster, such as `nats://nats.example.org:4222` or `tls://...`; 1 to 8, each at most 300
    /// characters. Without a port it is 4222. Operator and agents resolve names in their own namespaces: write
    /// `name.namespace.svc`. No user or password: use `credentialsSecretRef`.
    #[schemars(
        length(min = 1, max = 8),
        inner(length(min = 8, max = 300), regex(pattern = SERVER)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub servers: Vec<String>,
    /// TLS settings; absent means TLS only where a server's address begins with `tls://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The key of a Secret in the operator's namespace by which agents log in, to publish only: the text of a NATS
    /// `.creds` file, an NKEY seed, `user:password` or a token. The Secret needs the label
    /// `weir.dev/sink-credentials=true`. New content reaches agents within 90 s and restarts none. Absent means that
    /// nobody logs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretKeyRef>,
    /// First tokens of every subject: letters, digits, `-` and `_`, with a dot between two tokens, such as `prod.weir`;
    /// absent means `weir.events`. At most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = SUBJECT_PREFIX))]
    pub subject_prefix: Option<String>,
    /// The stream.
    pub stream: Stream,
}

/// `nats://` or `tls://`, a host name, IPv4 or bracketed IPv6 address, and a port.
pub(crate) const SERVER: &str =
    r"^(nats|tls)://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$";
pub(crate) const SUBJECT_PREFIX: &str = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$";
pub(crate) const STREAM_NAME: &str = "^[A-Za-z0-9_-]+$";
/// A Secret's name and the keys in it.
pub(crate) const SECRET_NAME: &str = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$";
pub(crate) const SECRET_KEY: &str = r"^[-._a-zA-Z0-9]+$";

/// How the connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Tls {
    /// Whether to refuse a server without TLS; absent means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// The key of a Secret in the operator's namespace, labelled as all are, with the PEM certificates to trust, instead
    /// of the system's: those are the public authorities that Weir's images hold. Absent means the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// A Secret of type `kubernetes.io/tls` in the operator's namespace, labelled as all are, with the client's
    /// certificate (`tls.crt`) and key (`tls.key`); absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<SecretRef>,
}

/// One key of a Secret in the operator's namespace, labelled `weir.dev/sink-credentials=true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SecretKeyRef {
    /// The Secret's name, at most 253 characters.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
    /// The key in it, at most 253 characters.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_KEY))]
    pub key: String,
}

/// A Secret in the operator's namespace, labelled `weir.dev/sink-credentials=true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SecretRef {
    /// The Secret's name, at most 253 characters.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
}

/// The `JetStream` stream that takes the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_stream)]
pub struct Stream {
    /// Its name, at most 64 letters, digits, `-` and `_`. Immutable.
    #[schemars(length(min = 1, max = 64), regex(pattern = STREAM_NAME))]
    pub name: String,
    /// Who makes it; absent means Ensure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manage: Option<Manage>,
    /// The key of a Secret in the operator's namespace, labelled and written as that of `credentialsSecretRef`, by
    /// which the operator logs in to make the stream, or with `manage: External` to look at it; agents never see it.
    /// Absent means `credentialsSecretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_credentials_secret_ref: Option<SecretKeyRef>,
    /// Copies of the stream, 1 to 5, and no more than there are servers; absent means 1. Fewer than an existing stream
    /// has is a `StreamConflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: Option<i32>,
    /// Where it is kept; absent means File. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Size at which the oldest messages go, such as `10Gi`, at most 8 EiB; absent means 1Gi. An existing stream grows
    /// to it; less than it has is a `StreamConflict`, for a stream is never shrunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    /// Age in seconds at which messages go, 60 to 315 360 000 (ten years); absent means never. Less than an existing
    /// stream has is a `StreamConflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 315_360_000))]
    pub max_age_seconds: Option<i64>,
    /// For how many seconds the server knows a message's id again, 10 to 86 400; absent means 120. It must not be above
    /// `maxAgeSeconds`. A longer one that a stream has stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 86_400))]
    pub duplicate_window_seconds: Option<i32>,
}

fn attach_stream(schema: &mut Schema) {
    attach(schema, &stream_rules());
}

pub(crate) fn stream_rules() -> Vec<Rule> {
    vec![
        Rule::transition(
            ".name",
            "self.name == oldSelf.name",
            "stream.name is immutable; make another CollectorSink",
        ),
        Rule::transition(
            ".storage",
            "(has(self.storage) ? self.storage : 'File') == (has(oldSelf.storage) ? oldSelf.storage : 'File')",
            "stream.storage is immutable; make another CollectorSink",
        ),
        Rule::new(
            ".duplicateWindowSeconds",
            "!has(self.maxAgeSeconds) || \
             (has(self.duplicateWindowSeconds) ? self.duplicateWindowSeconds : 120) <= self.maxAgeSeconds",
            "duplicateWindowSeconds (absent: 120) must not be above maxAgeSeconds; lower it or raise maxAgeSeconds",
            |stream| {
                let window = stream
                    .get("duplicateWindowSeconds")
                    .and_then(Value::as_i64)
                    .unwrap_or(120);
                stream
                    .get("maxAgeSeconds")
                    .and_then(Value::as_i64)
                    .is_none_or(|age| window <= age)
            },
        ),
    ]
}

/// How many events share a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Batch {
    /// Events in a message at most, 1 to 10 000; absent means 4096.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_events: Option<i32>,
    /// Size of a message at most, 4Ki to 8Mi; absent means 256Ki. The server's own limit holds too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Quantity>,
    /// How long an event waits for company at most, in milliseconds, 1 to 1000; absent means 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub linger_milliseconds: Option<i32>,
}

/// Room on each node's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct Spool {
    /// Not in this release.
    pub max_bytes: Quantity,
    /// Not in this release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
}

/// Whether the stream is there as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CollectorSinkStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// `Ready`, `Accepted`, `Reconciling` and `Stalled`, all there from the first visit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
    /// How many profiles use the sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub profiles: Option<i32>,
}
