//! `match` as the kernel maps take it: parsed, sorted, without what another entry already covers.

use serde::Serialize;

use crate::api::{Access, ConditionReason, Match, PortRange, Protocol, StringMatch};
use crate::cidr::Cidr;
use crate::error::FieldError;

/// What must hold; an empty list or `None` constrains nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Matches {
    /// Thread names, at most 15 bytes each.
    pub comm: Vec<String>,
    /// The acting process's executable.
    pub binaries: Option<StringMatches>,
    /// The path given to the call.
    pub paths: Option<StringMatches>,
    /// What the file was opened for.
    pub access: Option<Access>,
    /// Real user ids.
    pub uids: Vec<u32>,
    /// Inclusive ranges of destination ports, disjoint and not adjacent.
    pub ports: Vec<(u16, u16)>,
    /// Destination networks, none inside another.
    pub cidrs: Vec<Cidr>,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Results of the call, 0 for success.
    pub errnos: Vec<u16>,
    /// Signals that ended the process.
    pub signals: Vec<u8>,
    /// Least duration of the call.
    pub min_latency_microseconds: Option<u64>,
}

/// Strings compared whole or by how they begin, none of them covered by another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct StringMatches {
    /// Compared whole; at most 247 bytes.
    pub exact: Vec<String>,
    /// Compared by how they begin; at most 128 bytes.
    pub prefix: Vec<String>,
}

impl Matches {
    /// Whether nothing is constrained.
    #[must_use]
    pub fn is_unconstrained(&self) -> bool {
        *self == Self::default()
    }

    /// Normalises what validation has accepted.
    pub(super) fn normalise(found: &Match) -> Self {
        // Without `..`: a new field fails to compile until it is handled.
        let Match {
            comm,
            binaries,
            paths,
            access,
            uids,
            ports,
            cidrs,
            protocol,
            errnos,
            signals,
            min_latency_microseconds,
        } = found;
        Self {
            comm: sorted(comm.iter().cloned()),
            binaries: binaries.as_ref().map(strings),
            paths: paths.as_ref().map(strings),
            access: *access,
            uids: sorted(uids.iter().filter_map(|uid| u32::try_from(*uid).ok())),
            ports: merged(ports),
            cidrs: outermost(cidrs),
            protocol: *protocol,
            errnos: sorted(errnos.iter().filter_map(|errno| u16::try_from(*errno).ok())),
            signals: sorted(signals.iter().filter_map(|signal| u8::try_from(*signal).ok())),
            min_latency_microseconds: min_latency_microseconds.and_then(|least| u64::try_from(least).ok()),
        }
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values.dedup();
    values
}

fn strings(found: &StringMatch) -> StringMatches {
    let mut prefix: Vec<String> = Vec::new();
    // In sorted order a prefix stands before all that it covers.
    for candidate in sorted(found.prefix.iter().cloned()) {
        if !prefix
            .iter()
            .any(|shorter| candidate.starts_with(shorter.as_str()))
        {
            prefix.push(candidate);
        }
    }
    let covered = |path: &String| prefix.iter().any(|prefix| path.starts_with(prefix.as_str()));
    let exact = sorted(found.exact.iter().filter(|path| !covered(path)).cloned());
    StringMatches { exact, prefix }
}

fn merged(ports: &[PortRange]) -> Vec<(u16, u16)> {
    let ranges = sorted(ports.iter().filter_map(|range| {
        let from = u16::try_from(range.from).ok()?;
        let to = u16::try_from(range.to.unwrap_or(range.from)).ok()?;
        (from <= to).then_some((from, to))
    }));
    let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn outermost(cidrs: &[String]) -> Vec<Cidr> {
    let mut networks: Vec<Cidr> = Vec::new();
    // In sorted order (address, then prefix) a network stands before all that it contains.
    for candidate in sorted(cidrs.iter().filter_map(|text| Cidr::parse(text))) {
        if !networks.iter().any(|outer| outer.contains(&candidate)) {
            networks.push(candidate);
        }
    }
    networks
}

/// Matches that can never hold: they are valid for the schema, and surely not what the user meant.
pub(super) fn contradictions(found: &Match, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(binaries) = &found.binaries {
        for (i, text) in binaries.exact.iter().enumerate() {
            if text.ends_with('/') || unresolved(text) {
                errors.push(never(format!("{path}.binaries.exact[{i}]"), text));
            }
        }
        for (i, text) in binaries.prefix.iter().enumerate() {
            if unresolved(text) {
                errors.push(never(format!("{path}.binaries.prefix[{i}]"), text));
            }
        }
    }
}

/// The kernel names an executable by its resolved path.
fn unresolved(path: &str) -> bool {
    path.contains("//")
        || path.contains("/./")
        || path.contains("/../")
        || path.ends_with("/.")
        || path.ends_with("/..")
}

fn never(path: String, text: &str) -> FieldError {
    let message = format!(
        "{text:?} can never be the path of an executable, which the kernel gives without '//', '/./', '/../' or a \
         last '/'; write the resolved path"
    );
    FieldError::new(path, message, ConditionReason::ContradictoryMatch)
}
