//! The table of event kinds: names, and which `match` fields the kernel can decide for each.
//!
//! Everything that depends on a kind is derived from here: the schema's enum, the CEL rules, [`crate::validate`], the
//! generated reference. A new kind is one variant and its column in [`MatchField::kinds`].

use serde_json::Value;

use crate::api::rule::{Rule, has};

closed_enum! {
    /// What happened in the kernel.
    pub enum EventKind {
        /// A program was started (execve succeeded).
        ProcessExec = "process.exec",
        /// A process ended, with its code or signal and how long it lived.
        ProcessExit = "process.exit",
        /// A connect(2) finished, with its result and latency.
        NetConnect = "net.connect",
        /// A file was opened, or the attempt failed.
        FileOpen = "file.open",
    }
}

impl EventKind {
    /// Position in [`EventKind::ALL`], a dense index.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// A field of `match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchField {
    /// `comm`
    Comm,
    /// `binaries`
    Binaries,
    /// `paths`
    Paths,
    /// `access`
    Access,
    /// `uids`
    Uids,
    /// `ports`
    Ports,
    /// `cidrs`
    Cidrs,
    /// `protocol`
    Protocol,
    /// `errnos`
    Errnos,
    /// `signals`
    Signals,
    /// `minLatencyMicroseconds`
    MinLatency,
}

impl MatchField {
    /// Every field, in the order of the reference.
    pub const ALL: &'static [Self] = &[
        Self::Comm,
        Self::Binaries,
        Self::Paths,
        Self::Access,
        Self::Uids,
        Self::Ports,
        Self::Cidrs,
        Self::Protocol,
        Self::Errnos,
        Self::Signals,
        Self::MinLatency,
    ];

    /// Name in a document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Comm => "comm",
            Self::Binaries => "binaries",
            Self::Paths => "paths",
            Self::Access => "access",
            Self::Uids => "uids",
            Self::Ports => "ports",
            Self::Cidrs => "cidrs",
            Self::Protocol => "protocol",
            Self::Errnos => "errnos",
            Self::Signals => "signals",
            Self::MinLatency => "minLatencyMicroseconds",
        }
    }

    /// Path relative to an event, for CEL's `fieldPath`.
    const fn field_path(self) -> &'static str {
        match self {
            Self::Comm => ".match.comm",
            Self::Binaries => ".match.binaries",
            Self::Paths => ".match.paths",
            Self::Access => ".match.access",
            Self::Uids => ".match.uids",
            Self::Ports => ".match.ports",
            Self::Cidrs => ".match.cidrs",
            Self::Protocol => ".match.protocol",
            Self::Errnos => ".match.errnos",
            Self::Signals => ".match.signals",
            Self::MinLatency => ".match.minLatencyMicroseconds",
        }
    }

    /// The kinds for which the kernel can decide this field.
    #[must_use]
    pub const fn kinds(self) -> &'static [EventKind] {
        match self {
            Self::Comm | Self::Binaries | Self::Uids => EventKind::ALL,
            Self::Paths | Self::Access => &[EventKind::FileOpen],
            Self::Errnos => &[EventKind::NetConnect, EventKind::FileOpen],
            Self::Ports | Self::Cidrs | Self::Protocol | Self::MinLatency => &[EventKind::NetConnect],
            Self::Signals => &[EventKind::ProcessExit],
        }
    }

    /// Whether `kind` has this field.
    #[must_use]
    pub fn is_valid_for(self, kind: EventKind) -> bool {
        self.kinds().contains(&kind)
    }

    /// What is wrong when the field stands beside another kind, and what to do.
    #[must_use]
    pub fn message(self) -> String {
        format!(
            "match.{} is only for {}; remove it or change kind",
            self.as_str(),
            join_names(self.kinds())
        )
    }
}

fn join_names(kinds: &[EventKind]) -> String {
    kinds
        .iter()
        .map(|kind| kind.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// One CEL rule for each field that some kind lacks; `self` is an event.
pub(crate) fn rules() -> Vec<Rule> {
    MatchField::ALL
        .iter()
        .filter(|field| field.kinds().len() < EventKind::ALL.len())
        .map(|&field| {
            let name = field.as_str();
            let kinds: Vec<String> = field.kinds().iter().map(|kind| format!("'{kind}'")).collect();
            let rule = format!(
                "!has(self.match) || !has(self.match.{name}) || self.kind in [{}]",
                kinds.join(", ")
            );
            Rule::new(field.field_path(), rule, field.message(), move |event| {
                let kind = event
                    .get("kind")
                    .and_then(Value::as_str)
                    .and_then(EventKind::from_name);
                let given = event
                    .get("match")
                    .is_some_and(|matches| has(matches, field.as_str()));
                !given || kind.is_none_or(|kind| field.is_valid_for(kind))
            })
        })
        .collect()
}
