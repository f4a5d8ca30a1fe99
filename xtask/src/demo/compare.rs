//! The comparison: what the workload did, what the agent counted, and what the stream holds must be equal.
//!
//! Pure: it is given all three and says what holds.

use anyhow::Result;

use super::ledger::{ACCEPTED, Ledger, OUTCOMES, RINGED, Slot};
use super::received::{Delivered, Received};
use super::workload::{FLOOD_BURST, FLOOD_RATE, Made};

/// Name of the event whose limit the flood runs into.
pub(super) const FLOOD_EVENT: &str = "flood";

/// Two numbers, and how they must stand to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// Event, or `all`.
    pub(super) subject: String,
    /// In words.
    pub(super) rule: &'static str,
    /// The left side of the rule.
    pub(super) left: u64,
    /// The right side of the rule.
    pub(super) right: u64,
    /// Whether it holds.
    pub(super) holds: bool,
}

/// Every check that there is, those that hold included. `midway_closed` is the verdict on a cut that was made under
/// full flow.
pub(super) fn checks(
    ledger: &Ledger,
    received: &Received,
    made: &Made,
    midway_closed: bool,
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for slot in &ledger.slots {
        let event = &slot.key.event;
        let delivered = received.slots.get(&slot.key).map_or(0, Delivered::distinct);
        checks.push(equal(
            event,
            "matched = sum of its outcomes",
            slot.count("matched")?,
            slot.sum(&OUTCOMES)?,
        ));
        checks.push(equal(
            event,
            "ringed = sum of what became of it",
            slot.count("ringed")?,
            slot.sum(&RINGED)?,
        ));
        checks.push(equal(
            event,
            "accepted = sum of what became of it",
            slot.count("accepted")?,
            slot.sum(&ACCEPTED)?,
        ));
        checks.push(equal(
            event,
            "acked = received from the stream",
            slot.count("acked")?,
            delivered,
        ));
        if event == FLOOD_EVENT {
            flood(slot, made, &mut checks)?;
        }
    }
    let unknown = received
        .slots
        .keys()
        .filter(|key| ledger.slots.iter().all(|slot| slot.key != **key));
    checks.push(equal(
        "all",
        "events received without a ledger row = 0",
        unknown.count() as u64,
        0,
    ));
    checks.push(equal(
        "all",
        "gaps in seq that no loss explains = 0",
        received.unexplained_gaps(),
        0,
    ));
    let open = u64::from(!ledger.closed) + u64::from(!midway_closed);
    checks.push(equal("all", "ledger cuts that did not close = 0", open, 0));
    Ok(checks)
}

fn flood(slot: &Slot, made: &Made, checks: &mut Vec<Check>) -> Result<()> {
    let event = &slot.key.event;
    checks.push(equal(
        event,
        "opens made by the workload = matched",
        made.flood_opens,
        slot.count("matched")?,
    ));
    let allowed =
        made.flood_time.as_nanos() * u128::from(FLOOD_RATE) / 1_000_000_000 + u128::from(FLOOD_BURST);
    let allowed = u64::try_from(allowed).unwrap_or(u64::MAX);
    let passed = slot.count("ringed")?;
    checks.push(Check {
        subject: event.clone(),
        rule: "let through <= rate x time + burst",
        left: passed,
        right: allowed,
        holds: passed <= allowed,
    });
    let least = allowed * 98 / 100;
    checks.push(Check {
        subject: event.clone(),
        rule: "let through >= 0.98 of that",
        left: passed,
        right: least,
        holds: passed >= least,
    });
    Ok(())
}

fn equal(subject: &str, rule: &'static str, left: u64, right: u64) -> Check {
    Check {
        subject: subject.to_owned(),
        rule,
        left,
        right,
        holds: left == right,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::demo::ledger::tests::ledger;
    use crate::demo::received::tests::received;

    const MADE: Made = Made {
        flood_opens: 1000,
        flood_time: Duration::from_millis(2500),
    };

    fn good() -> (Value, Value) {
        let etc = json!({"matched": "2", "ringed": "2", "accepted": "2", "acked": "2"});
        let flood = json!({"matched": 1000, "limitedEvent": 651, "ringed": 349, "outOfScope": 348, "accepted": 1, "acked": 1});
        (etc, flood)
    }

    fn failing(etc: &Value, flood: &Value, events: &[(&str, u64)]) -> Vec<(String, &'static str)> {
        let ledger = ledger(&[("etc", etc.clone()), ("flood", flood.clone())]);
        let checks = checks(&ledger, &received(events), &MADE, true).expect("all counts are there");
        checks
            .into_iter()
            .filter(|check| !check.holds)
            .map(|check| (check.subject, check.rule))
            .collect()
    }

    #[test]
    fn checks_exact_ledger_all_hold() {
        let (etc, flood) = good();
        assert_eq!(failing(&etc, &flood, &[("etc", 1), ("etc", 2), ("flood", 3)]), []);
    }

    #[test]
    fn checks_one_event_off_is_found_on_either_side() {
        let (etc, flood) = good();
        let acked = "acked = received from the stream";
        assert_eq!(
            failing(&etc, &flood, &[("etc", 1), ("flood", 2)]),
            [("etc".to_owned(), acked)]
        );
        let more = [("etc", 1), ("etc", 2), ("etc", 3), ("flood", 4)];
        assert_eq!(failing(&etc, &flood, &more), [("etc".to_owned(), acked)]);
        // The same event twice is one event.
        assert_eq!(
            failing(&etc, &flood, &[("etc", 1), ("etc", 2), ("flood", 3), ("etc", 1)]),
            []
        );
    }

    #[test]
    fn checks_each_broken_identity_is_named() {
        let events = [("etc", 1), ("etc", 2), ("flood", 3)];
        for (counter, rule) in [
            ("sampledOut", "matched = sum of its outcomes"),
            ("malformed", "ringed = sum of what became of it"),
            ("shed", "accepted = sum of what became of it"),
        ] {
            let (mut etc, flood) = good();
            etc[counter] = json!("1");
            assert_eq!(failing(&etc, &flood, &events), [("etc".to_owned(), rule)]);
        }
    }

    #[test]
    fn checks_limit_is_held_from_both_sides() {
        let events = [("etc", 1), ("etc", 2), ("flood", 3)];
        for (passed, rule) in [
            (351, "let through <= rate x time + burst"),
            (342, "let through >= 0.98 of that"),
        ] {
            let (etc, mut flood) = good();
            flood["ringed"] = json!(passed);
            flood["limitedEvent"] = json!(1000 - passed);
            flood["outOfScope"] = json!(passed - 1);
            assert_eq!(failing(&etc, &flood, &events), [("flood".to_owned(), rule)]);
        }
    }

    #[test]
    fn checks_cut_that_did_not_close_is_found() {
        let checks = checks(&ledger(&[]), &received(&[]), &MADE, false).expect("all counts are there");
        let broken: Vec<_> = checks
            .iter()
            .filter(|check| !check.holds)
            .map(|check| check.rule)
            .collect();
        assert_eq!(broken, ["ledger cuts that did not close = 0"]);
    }

    #[test]
    fn checks_strangers_and_gaps_are_found() {
        let (etc, flood) = good();
        let found = failing(
            &etc,
            &flood,
            &[("etc", 1), ("etc", 2), ("flood", 3), ("other", 5)],
        );
        let all = |rule| ("all".to_owned(), rule);
        let expected = [
            all("events received without a ledger row = 0"),
            all("gaps in seq that no loss explains = 0"),
        ];
        assert_eq!(found, expected);
    }
}
