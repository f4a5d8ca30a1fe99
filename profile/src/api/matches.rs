//! `match`: what of an event spec the kernel itself decides.

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::rule::{Rule, attach, has, items};
use crate::cidr::Cidr;

closed_enum! {
    /// What the opened file can be used for, by the open's access mode.
    pub enum Access {
        /// It can be read: opened read-only or read-write.
        Read = "Read",
        /// It can be written: opened write-only or read-write.
        Write = "Write",
        /// It can be both read and written.
        ReadWrite = "ReadWrite",
    }
}

closed_enum! {
    /// Transport protocol.
    pub enum Protocol {
        /// A TCP socket.
        Tcp = "Tcp",
        /// A UDP socket on which connect(2) was called.
        Udp = "Udp",
    }
}

/// Strings compared whole, or by how they begin; one hit is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_string_match)]
pub struct StringMatch {
    /// Whole absolute paths in printable ASCII; at most 16, each at most 247 characters. Absent or empty means none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 247), regex(pattern = PATH)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub exact: Vec<String>,
    /// Beginnings of absolute paths in printable ASCII; `/etc/` is everything below that folder, `/etc` also
    /// `/etcetera`. At most 16, each at most 128 characters. Absent or empty means none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 128), regex(pattern = PATH)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub prefix: Vec<String>,
}

/// An absolute path in printable ASCII.
pub(crate) const PATH: &str = "^/[ -~]*$";

fn attach_string_match(schema: &mut Schema) {
    attach(schema, &string_match_rules());
}

pub(crate) fn string_match_rules() -> Vec<Rule> {
    vec![Rule::new(
        "",
        "(has(self.exact) && size(self.exact) > 0) || (has(self.prefix) && size(self.prefix) > 0)",
        "an empty match would match nothing; give at least one exact or prefix entry, or remove the field",
        |it| !it.is_object() || !items(it, "exact").is_empty() || !items(it, "prefix").is_empty(),
    )]
}

/// One port or an inclusive range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_port_range)]
pub struct PortRange {
    /// First port, 0 to 65535.
    #[schemars(range(min = 0, max = 65535))]
    pub from: i32,
    /// Last port, 0 to 65535; absent means only `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 65535))]
    pub to: Option<i32>,
}

fn attach_port_range(schema: &mut Schema) {
    attach(schema, &port_range_rules());
}

pub(crate) fn port_range_rules() -> Vec<Rule> {
    vec![Rule::new(
        ".to",
        "!has(self.to) || self.from <= self.to",
        "to must not be below from; swap them, or leave to out for a single port",
        |range| match (
            range.get("from").and_then(Value::as_i64),
            range.get("to").and_then(Value::as_i64),
        ) {
            (Some(from), Some(to)) => from <= to,
            _ => true,
        },
    )]
}

/// What the kernel decides before anything is limited or copied. All given fields must hold; within a field one hit is
/// enough. Each field is only valid for the kinds it names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_match)]
pub struct Match {
    /// Thread names (`comm`) compared whole: printable ASCII, at most 15 characters, as the kernel keeps them; at most
    /// 16. Absent or empty means any. For every kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 1, max = 15), regex(pattern = COMM)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub comm: Vec<String>,
    /// Path of the acting process's executable; absent means any. For every kind; for `process.exec` it is the started
    /// program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binaries: Option<StringMatch>,
    /// Path given to the call, as given: a relative path is counted `undecided`; absent means any. For `file.open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<StringMatch>,
    /// What the file was opened for; absent means anything. For `file.open`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// Real user ids of the acting process, in the initial user namespace, 0 to 4294967295; at most 16. Absent or empty
    /// means any. For every kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(range(min = 0, max = 4_294_967_295_i64)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub uids: Vec<i64>,
    /// Destination ports, single (`{from: 443}`) or as ranges (`{from: 8000, to: 8999}`); at most 16. Absent or empty
    /// means any. For `net.connect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<PortRange>,
    /// Destination networks, IPv4 or IPv6, such as `10.0.0.0/8`; at most 16. Absent or empty means any. For
    /// `net.connect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(min = 4, max = 43)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub cidrs: Vec<String>,
    /// Transport protocol; absent means any. For `net.connect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Results of the call as errno numbers, 0 for success, up to 4095 (2 is ENOENT, 13 EACCES, 111 ECONNREFUSED); at
    /// most 16. Absent or empty means any. For `file.open` and `net.connect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 0, max = 4095)), extend("x-kubernetes-list-type" = "set"))]
    pub errnos: Vec<i32>,
    /// Signals that ended the process, as numbers 1 to 64; at most 16. Absent or empty means any end. For
    /// `process.exit`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub signals: Vec<i32>,
    /// Only calls that took at least this many microseconds, 1 to 3 600 000 000 (an hour); absent means any. For
    /// `net.connect`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_600_000_000_i64))]
    pub min_latency_microseconds: Option<i64>,
}

/// What the kernel keeps as a thread's name.
pub(crate) const COMM: &str = "^[ -~]+$";

fn attach_match(schema: &mut Schema) {
    attach(schema, &match_rules());
}

pub(crate) fn match_rules() -> Vec<Rule> {
    vec![Rule::new(
        ".cidrs",
        "!has(self.cidrs) || self.cidrs.all(c, isCIDR(c))",
        "each entry must be an IPv4 or IPv6 network such as 10.0.0.0/8 or fd00::/8; correct the entry",
        |it| {
            !has(it, "cidrs")
                || items(it, "cidrs")
                    .iter()
                    .filter_map(Value::as_str)
                    .all(|text| Cidr::parse(text).is_some())
        },
    )]
}
