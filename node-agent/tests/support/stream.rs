//! Events as a consumer reads them back, with nothing of the agent's counters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use crate::server::Stored;

/// One event.
pub struct Event(Value);

impl Event {
    /// The `UnifiedEvent`.
    pub fn data(&self) -> &Value {
        &self.0["data"]
    }

    pub fn name(&self) -> &str {
        self.data()["event"].as_str().unwrap_or_default()
    }

    pub fn kind(&self) -> &str {
        self.data()["kind"].as_str().unwrap_or_default()
    }

    pub fn generation(&self) -> u64 {
        number(&self.data()["generation"])
    }

    pub fn pid(&self) -> u64 {
        number(&self.data()["process"]["pid"])
    }

    pub fn epoch(&self) -> u64 {
        self.id().0
    }

    pub fn seq(&self) -> u64 {
        self.id().2
    }

    /// Kernel time on the wall clock, nanoseconds.
    pub fn time_ns(&self) -> i128 {
        time(&self.data()["time"])
    }

    pub fn process_start_ns(&self) -> i128 {
        time(&self.data()["process"]["startTime"])
    }

    pub fn path(&self) -> &str {
        self.data()["fileOpen"]["path"].as_str().unwrap_or_default()
    }

    /// (epoch, profile, seq), from the `CloudEvents` id.
    fn id(&self) -> (u64, String, u64) {
        let id = self.0["id"].as_str().expect("has an id");
        let mut parts = id.split('/');
        let mut part = || parts.next().unwrap_or_else(|| panic!("{id} is no id"));
        let (epoch, profile, seq) = (part(), part(), part());
        let whole = &self.data()["id"];
        assert_eq!(
            number(&whole["seq"]).to_string(),
            seq,
            "the two ids differ: {}",
            self.0
        );
        assert_eq!(whole["profile"], profile, "the two ids differ: {}", self.0);
        let number = |text: &str| text.parse().expect("is a number");
        (number(epoch), profile.to_owned(), number(seq))
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A number in JSON, or in a string as 64-bit numbers are.
pub fn number(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.trim().parse().expect("is a number"),
        other => other.as_u64().unwrap_or_default(),
    }
}

fn time(value: &Value) -> i128 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    text.parse::<Timestamp>().expect("is a time").as_nanosecond()
}

/// What was read back.
#[derive(Debug, Default)]
pub struct Stream {
    /// Events of profiles, in the stream's order.
    pub events: Vec<Event>,
    /// Events of the agent itself.
    pub agent: Vec<Event>,
}

impl Stream {
    fn add(&mut self, payload: &[u8]) {
        let batch: Vec<Value> = serde_json::from_slice(payload).expect("is a batch");
        for event in batch.into_iter().map(Event) {
            if event.kind().starts_with("agent.") {
                self.agent.push(event);
            } else {
                self.events.push(event);
            }
        }
    }

    pub fn of_messages(messages: &[Stored]) -> Self {
        let ids: BTreeSet<&str> = messages.iter().map(|message| message.id.as_str()).collect();
        assert_eq!(ids.len(), messages.len(), "the stream holds a message twice");
        let mut stream = Self::default();
        for message in messages {
            stream.add(&message.payload);
        }
        stream
    }

    /// What a `file:` sink wrote: a batch per line.
    pub fn of_file(path: &Path) -> Self {
        let mut stream = Self::default();
        for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
            stream.add(line.as_bytes());
        }
        stream
    }

    /// The events of this name.
    pub fn named(&self, name: &str) -> Vec<&Event> {
        self.events.iter().filter(|event| event.name() == name).collect()
    }

    /// Announced losses: `seq` ranges by epoch and profile.
    fn losses(&self) -> BTreeMap<(u64, String), BTreeSet<u64>> {
        let mut losses: BTreeMap<_, BTreeSet<u64>> = BTreeMap::new();
        for event in self.agent.iter().filter(|event| event.kind() == "agent.loss") {
            let loss = &event.data()["agentLoss"];
            let key = (
                number(&loss["epoch"]),
                loss["profile"].as_str().unwrap_or_default().to_owned(),
            );
            for range in loss["ranges"].as_array().expect("has ranges") {
                let base = number(&range["base"]);
                losses
                    .entry(key.clone())
                    .or_default()
                    .extend(base..base + number(&range["count"]));
            }
        }
        losses
    }

    /// No `seq` twice, and none missing from 1 on unless announced. Returns how many are missing.
    pub fn assert_sequences(&self) -> u64 {
        let mut sequences: BTreeMap<(u64, String), BTreeSet<u64>> = BTreeMap::new();
        for event in &self.events {
            let (epoch, profile, seq) = event.id();
            assert!(
                sequences.entry((epoch, profile)).or_default().insert(seq),
                "seq {seq} is there twice"
            );
        }
        let losses = self.losses();
        let none = BTreeSet::new();
        let mut missing = 0;
        for key in sequences.keys().chain(losses.keys()).collect::<BTreeSet<_>>() {
            let (here, lost) = (
                sequences.get(key).unwrap_or(&none),
                losses.get(key).unwrap_or(&none),
            );
            let end = here.last().max(lost.last()).copied().unwrap_or(0);
            for seq in 1..=end {
                match (here.contains(&seq), lost.contains(&seq)) {
                    (true, false) => {}
                    (false, true) => missing += 1,
                    (true, true) => panic!("seq {seq} of {key:?} arrived and is said to be lost"),
                    (false, false) => panic!("seq {seq} of {key:?} is missing and not announced"),
                }
            }
        }
        missing
    }
}
