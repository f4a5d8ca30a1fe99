//! The agent's ledger as JSON says it, read without any of the agent's types.

use anyhow::{Context, Result};
use serde_json::Value;

/// Outcomes of the kernel side; their sum is what matched.
pub(super) const OUTCOMES: [&str; 9] = [
    "sampledOut",
    "limitedEvent",
    "limitedProfile",
    "limitedWorkload",
    "ringFull",
    "dryRun",
    "throttled",
    "suppressed",
    "ringed",
];
/// What can become of a record that came through the ring.
pub(super) const RINGED: [&str; 6] = [
    "inRing",
    "malformed",
    "outOfScope",
    "filtered",
    "held",
    "accepted",
];
/// What can become of an accepted event.
pub(super) const ACCEPTED: [&str; 6] = ["acked", "shed", "rejected", "queued", "spooled", "unacked"];

/// The last cut of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ledger {
    /// The cut's identities held when it was made.
    pub(super) closed: bool,
    /// In the order of the JSON.
    pub(super) slots: Vec<Slot>,
    /// In the order of the JSON.
    pub(super) hooks: Vec<Hook>,
}

/// The row of one (profile, event).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    /// Whose.
    pub(super) key: SlotKey,
    /// Kind of its events.
    pub(super) kind: String,
    counts: Value,
}

/// Names a slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SlotKey {
    /// Name of the profile.
    pub(super) profile: String,
    /// Name of the event in it.
    pub(super) event: String,
}

/// What a hook could not count per slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hook {
    /// Its name.
    pub(super) name: String,
    /// Runs that the kernel skipped.
    pub(super) missed: u64,
    /// Runs that failed.
    pub(super) errors: u64,
}

impl Ledger {
    /// Reads the payload of an `agent.ledger` event.
    pub(super) fn parse(payload: &Value) -> Result<Self> {
        let closed = payload["cut"]["closed"].as_bool().unwrap_or(false);
        let mut slots = Vec::new();
        for profile in list(payload, "profiles") {
            let name = text(profile, "name")?;
            for slot in list(profile, "slots") {
                let key = SlotKey {
                    profile: name.clone(),
                    event: text(slot, "event")?,
                };
                slots.push(Slot {
                    key,
                    kind: text(slot, "kind")?,
                    counts: slot.clone(),
                });
            }
        }
        let hooks = list(payload, "hooks").map(|hook| {
            Ok(Hook {
                name: text(hook, "hook")?,
                missed: count(hook, "missed")?,
                errors: count(hook, "hookError")?,
            })
        });
        Ok(Self {
            closed,
            slots,
            hooks: hooks.collect::<Result<_>>()?,
        })
    }
}

impl Slot {
    /// One counter. Counters that are zero may be left out of the JSON.
    pub(super) fn count(&self, name: &str) -> Result<u64> {
        count(&self.counts, name)
    }

    /// Several counters together.
    pub(super) fn sum(&self, names: &[&str]) -> Result<u64> {
        names.iter().map(|name| self.count(name)).sum()
    }
}

/// A 64-bit number of canonical protobuf JSON: a string, or absent for 0.
pub(super) fn count(value: &Value, name: &str) -> Result<u64> {
    let number = match &value[name] {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.with_context(|| format!("{name} is not a count: {}", value[name]))
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value[name].as_array().into_iter().flatten()
}

fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name]
        .as_str()
        .with_context(|| format!("a row without {name}: {value}"))?
        .to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A ledger of profile `p` with one slot per `(event, counters)`.
    pub(in crate::demo) fn ledger(slots: &[(&str, Value)]) -> Ledger {
        let slots: Vec<_> = slots
            .iter()
            .map(|(event, counts)| {
                let mut slot = counts.clone();
                slot["event"] = json!(event);
                slot["kind"] = json!("file.open");
                slot
            })
            .collect();
        Ledger::parse(&json!({"cut": {"closed": true}, "profiles": [{"name": "p", "slots": slots}]}))
            .expect("parses")
    }

    #[test]
    fn parse_counts_are_strings_numbers_or_absent() {
        let ledger = ledger(&[("e", json!({"matched": "18446744073709551615", "ringed": 7}))]);
        let slot = &ledger.slots[0];
        assert_eq!(slot.count("matched").expect("a count"), u64::MAX);
        assert_eq!(slot.count("ringed").expect("a count"), 7);
        assert_eq!(slot.count("shed").expect("a count"), 0);
        assert_eq!(slot.sum(&["ringed", "shed"]).expect("counts"), 7);
    }

    #[test]
    fn parse_negative_or_missing_values_are_named() {
        let slot = json!({"event": "e", "kind": "file.open", "matched": "-1"});
        let ledger = Ledger::parse(&json!({"profiles": [{"name": "p", "slots": [slot]}]})).expect("parses");
        assert!(!ledger.closed);
        assert!(
            ledger.slots[0]
                .count("matched")
                .expect_err("negative")
                .to_string()
                .contains("matched")
        );
        let nameless = Ledger::parse(&json!({"profiles": [{"slots": []}]})).expect_err("no name");
        assert!(nameless.to_string().contains("name"), "{nameless}");
    }
}
