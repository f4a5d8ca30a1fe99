//! What the stream holds, counted by event id: the consumer's side of the comparison.
//!
//! Events are read as plain JSON. Nothing here knows how the agent counts.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::jetstream::JetStream;
use super::ledger::{Ledger, SlotKey, count};

/// How the profile name of the agent's own events begins, which no user's profile can; they are no part of the ledger.
const AGENT_PROFILE: &str = "_agent";

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Messages read.
    pub(super) messages: u64,
    /// Per slot.
    pub(super) slots: BTreeMap<SlotKey, Delivered>,
    sequences: BTreeMap<(String, u64), BTreeSet<u64>>,
    lost: BTreeMap<(String, u64), BTreeSet<u64>>,
    last_cut: Option<Value>,
}

/// The events of one slot.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    ids: HashSet<String>,
    /// Events whose id had come before.
    pub(super) duplicates: u64,
}

impl Delivered {
    /// Events with different ids.
    pub(super) fn distinct(&self) -> u64 {
        self.ids.len() as u64
    }
}

impl Received {
    /// Reads all of the stream, and checks that it was all.
    pub(super) fn read(stream: &mut JetStream) -> Result<Self> {
        let expected = stream.count()?;
        let mut received = Self::default();
        loop {
            let messages = stream.next(Duration::ZERO)?;
            if messages.is_empty() {
                break;
            }
            for message in messages {
                received
                    .add(&message.payload)
                    .with_context(|| format!("a message on {}", message.subject))?;
            }
        }
        ensure!(
            received.messages == expected,
            "the stream holds {expected} messages, {} came",
            received.messages
        );
        Ok(received)
    }

    /// Counts the events of one message.
    pub(super) fn add(&mut self, payload: &[u8]) -> Result<()> {
        self.messages += 1;
        for event in events(payload)? {
            self.add_event(&event)?;
        }
        Ok(())
    }

    /// The ledger that the agent published last, which must be its final one.
    pub(super) fn final_ledger(&self) -> Result<Ledger> {
        let payload = self
            .last_cut
            .as_ref()
            .context("the stream holds no agent.ledger event")?;
        if payload["cut"]["final"] != true {
            bail!(
                "the last agent.ledger in the stream is not the final one, so the agent did not end in order"
            );
        }
        Ledger::parse(payload)
    }

    /// Sequence numbers that are neither there nor announced as lost.
    pub(super) fn unexplained_gaps(&self) -> u64 {
        let mut gaps = 0;
        for (key, there) in &self.sequences {
            let announced = self.lost.get(key);
            let all = there.iter().chain(announced.into_iter().flatten());
            let Some((first, last)) = all.clone().min().zip(all.clone().max()) else {
                continue;
            };
            let explained = there.len() + announced.map_or(0, |lost| lost.difference(there).count());
            gaps += last - first + 1 - explained as u64;
        }
        gaps
    }

    fn add_event(&mut self, event: &Value) -> Result<()> {
        let id = event["id"]
            .as_str()
            .with_context(|| format!("an event without id: {event}"))?;
        let (epoch, profile, seq) = split_id(id).with_context(|| format!("not an event id: {id:?}"))?;
        let data = &event["data"];
        if profile.starts_with(AGENT_PROFILE) {
            return self.add_agent_event(data);
        }
        self.sequences
            .entry((profile.clone(), epoch))
            .or_default()
            .insert(seq);
        let name = data["event"]
            .as_str()
            .with_context(|| format!("event {id} names no event of its profile"))?;
        let slot = self
            .slots
            .entry(SlotKey {
                profile,
                event: name.to_owned(),
            })
            .or_default();
        if !slot.ids.insert(id.to_owned()) {
            slot.duplicates += 1;
        }
        Ok(())
    }

    fn add_agent_event(&mut self, data: &Value) -> Result<()> {
        if let Some(payload) = data.get("agentLedger") {
            self.last_cut = Some(payload.clone());
        }
        if let Some(loss) = data.get("agentLoss") {
            let profile = loss["profile"].as_str().context("a loss without a profile")?;
            let key = (profile.to_owned(), count(loss, "epoch")?);
            for range in loss["ranges"].as_array().into_iter().flatten() {
                let base = count(range, "base")?;
                self.lost
                    .entry(key.clone())
                    .or_default()
                    .extend(base..base + count(range, "count")?);
            }
        }
        Ok(())
    }
}

/// The `CloudEvents` of one message: a batch, or one alone.
pub(super) fn events(payload: &[u8]) -> Result<Vec<Value>> {
    match serde_json::from_slice(payload).context("not JSON")? {
        Value::Array(events) => Ok(events),
        event @ Value::Object(_) => Ok(vec![event]),
        other => bail!("neither a CloudEvent nor a batch of them: {other}"),
    }
}

/// `<epoch>/<profile>/<seq>`.
fn split_id(id: &str) -> Option<(u64, String, u64)> {
    let mut parts = id.split('/');
    let parsed = (
        parts.next()?.parse().ok()?,
        parts.next()?.to_owned(),
        parts.next()?.parse().ok()?,
    );
    parts.next().is_none().then_some(parsed)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::demo::ledger::{ACCEPTED, OUTCOMES, RINGED};

    /// What is received when the events `(event, seq)` of profile `p` arrive in one message.
    pub(in crate::demo) fn received(events: &[(&str, u64)]) -> Received {
        let mut received = Received::default();
        received.add(batch(events).as_bytes()).expect("a batch");
        received
    }

    fn batch(events: &[(&str, u64)]) -> String {
        let events = events
            .iter()
            .map(|(event, seq)| json!({"id": format!("7/p/{seq:020}"), "data": {"event": event}}));
        events.collect::<Value>().to_string()
    }

    fn agent(payload: &Value) -> String {
        json!([{"id": "7/_agent/1", "data": payload}]).to_string()
    }

    #[test]
    fn add_repeated_id_is_a_duplicate() {
        let received = received(&[("a", 1), ("a", 2), ("b", 3), ("a", 1)]);
        let key = SlotKey {
            profile: "p".into(),
            event: "a".into(),
        };
        assert_eq!(
            (received.slots[&key].distinct(), received.slots[&key].duplicates),
            (2, 1)
        );
        assert_eq!(received.slots.len(), 2);
    }

    #[test]
    fn unexplained_gaps_announced_losses_are_not_counted() {
        let mut received = received(&[("a", 1), ("a", 2), ("a", 9)]);
        assert_eq!(received.unexplained_gaps(), 6);
        let ranges = json!([{"base": "3", "count": "4"}, {"base": "2", "count": "2"}]);
        let loss = agent(&json!({"agentLoss": {"profile": "p", "epoch": "7", "ranges": ranges}}));
        // A loss is announced until it is acknowledged: twice is once.
        received.add(loss.as_bytes()).expect("a loss");
        received.add(loss.as_bytes()).expect("a loss");
        assert_eq!(received.unexplained_gaps(), 2);
    }

    #[test]
    fn final_ledger_only_a_final_cut_will_do() {
        let mut received = received(&[]);
        assert!(received.final_ledger().is_err());
        received
            .add(agent(&json!({"agentLedger": {"cut": {"closed": true}}})).as_bytes())
            .expect("a cut");
        assert!(
            received
                .final_ledger()
                .expect_err("not final")
                .to_string()
                .contains("not the final")
        );
        let last = json!({"agentLedger": {"cut": {"closed": true, "final": true}}});
        received.add(agent(&last).as_bytes()).expect("a cut");
        assert!(received.final_ledger().expect("final").closed);
    }

    #[test]
    fn add_messages_as_the_encoder_writes_them_are_understood() {
        let golden = |kind: &str| {
            let path = crate::workspace::root().join(format!("events/golden/v1/{kind}.batch.json"));
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let mut received = Received::default();
        for kind in [
            "process.exec",
            "process.exit",
            "net.connect",
            "file.open",
            "agent.ledger",
            "agent.loss",
        ] {
            received
                .add(&golden(kind))
                .unwrap_or_else(|error| panic!("{kind}: {error:#}"));
        }
        assert!(received.slots.values().map(Delivered::distinct).sum::<u64>() >= 4);
        assert!(!received.lost.is_empty());
        let ledger = Ledger::parse(received.last_cut.as_ref().expect("a ledger")).expect("a ledger");
        // Every counter that the comparison names is in the golden ledger, under that name.
        let there = |name: &&str| {
            ledger
                .slots
                .iter()
                .any(|slot| slot.count(name).is_ok_and(|count| count > 0))
        };
        let names = OUTCOMES
            .iter()
            .chain(&RINGED)
            .chain(&ACCEPTED)
            .chain(&["matched"]);
        assert_eq!(
            names.filter(|name| !there(name)).collect::<Vec<_>>(),
            Vec::<&&str>::new()
        );
    }

    #[test]
    fn add_what_is_no_event_is_refused() {
        for payload in [
            "",
            "7",
            "[{}]",
            r#"[{"id":"x"}]"#,
            r#"[{"id":"7/p/1","data":{}}]"#,
            r#"[{"id":"7/p/1/2"}]"#,
        ] {
            assert!(Received::default().add(payload.as_bytes()).is_err(), "{payload}");
        }
    }
}
