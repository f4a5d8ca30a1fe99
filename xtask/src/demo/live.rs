//! The live view: a line per event, at a pace that a person can read.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::event::Line;
use super::received::events;

/// Lines per event of the profile and second; more are counted instead.
const LINES: u64 = 3;
const SECOND: Duration = Duration::from_secs(1);

/// The view, and what it has seen.
pub(super) struct Live {
    since: Instant,
    window: BTreeMap<String, u64>,
    seen: u64,
    pods: BTreeMap<String, u64>,
}

impl Live {
    /// Prints the head of the table.
    pub(super) fn new() -> Self {
        println!(
            "{:<12} {:<13} {:<15} {:>7}  {:<56}  WORKLOAD",
            "TIME", "KIND", "PROCESS", "PID", "DETAIL"
        );
        Self {
            since: Instant::now(),
            window: BTreeMap::new(),
            seen: 0,
            pods: BTreeMap::new(),
        }
    }

    /// Shows or counts the events of one message.
    pub(super) fn message(&mut self, payload: &[u8]) -> Result<()> {
        for event in events(payload)? {
            let data = &event["data"];
            if !is_agents_own(data) {
                self.event(data);
            }
        }
        Ok(())
    }

    /// Says once a second what was not shown.
    pub(super) fn tick(&mut self) {
        if self.since.elapsed() >= SECOND {
            self.since = Instant::now();
            for (event, count) in std::mem::take(&mut self.window) {
                if count > LINES {
                    println!(
                        "{:12} … and {} more of `{event}` in this second",
                        "",
                        count - LINES
                    );
                }
            }
        }
    }

    /// Says what was not shown since the last tick.
    pub(super) fn finish(&mut self) {
        self.since = self.since.checked_sub(SECOND).unwrap_or(self.since);
        self.tick();
    }

    /// Events so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// Events of pods so far, by node.
    pub(super) fn pods_of(&self) -> &BTreeMap<String, u64> {
        &self.pods
    }

    fn event(&mut self, data: &Value) {
        self.seen += 1;
        if let (Some(node), Some(_)) = (data["node"].as_str(), data["workload"]["pod"].as_str()) {
            *self.pods.entry(node.to_owned()).or_default() += 1;
        }
        let name = data["event"].as_str().unwrap_or("?");
        let count = self.window.entry(name.to_owned()).or_default();
        *count += 1;
        if *count <= LINES {
            let line = Line::of(data);
            println!(
                "{:<12} {:<13} {:<15} {:>7}  {:<56}  {}",
                line.time, line.kind, line.process, line.pid, line.detail, line.workload
            );
        }
    }
}

fn is_agents_own(data: &Value) -> bool {
    data["kind"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("agent."))
}
