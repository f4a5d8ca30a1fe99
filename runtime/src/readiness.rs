//! What the process is ready for: gates that decide `/readyz`'s code, components that only show in its body.
//!
//! A degraded component never changes the code: an agent made unready by a sink that is down would block the very
//! roll-out that repairs it. A stage of the process itself that no longer moves does; see [`crate::beat`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::beat::{Beat, LATE, Pulse, STUCK};

/// How a component does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Not there yet, as expected so early.
    Starting,
    /// All is well.
    Live,
    /// Something is wrong, and the process goes on.
    Degraded {
        /// What is wrong.
        reason: String,
        /// What a person can do about it.
        remedy: String,
    },
}

#[derive(Debug, Clone)]
struct Entry {
    state: State,
    since: SystemTime,
}

#[derive(Debug, Default)]
struct Inner {
    gates: BTreeMap<String, bool>,
    components: BTreeMap<String, Entry>,
    stages: BTreeMap<String, Pulse>,
}

impl Inner {
    /// The gates, and each stage as one more.
    fn gates(&self) -> BTreeMap<String, bool> {
        let stages = self
            .stages
            .iter()
            .map(|(name, pulse)| (name.clone(), pulse.age() <= LATE));
        self.gates
            .iter()
            .map(|(name, open)| (name.clone(), *open))
            .chain(stages)
            .collect()
    }
}

/// The shared picture; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    inner: Arc<Mutex<Inner>>,
}

/// Decides with all other gates whether `/readyz` answers 200. Closed at first.
#[derive(Debug, Clone)]
pub struct Gate {
    readiness: Readiness,
    name: String,
}

impl Gate {
    /// Says whether this part is ready.
    pub fn set(&self, open: bool) {
        self.readiness.lock().gates.insert(self.name.clone(), open);
    }

    /// Ready from now on.
    pub fn open(&self) {
        self.set(true);
    }
}

impl Readiness {
    /// Nothing known yet; without gates it is ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a closed gate. The same name twice is the same gate.
    #[must_use]
    pub fn gate(&self, name: &str) -> Gate {
        self.lock().gates.entry(name.to_owned()).or_insert(false);
        Gate {
            readiness: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Expects signs of life of a stage from now on. Its gate is `stage NAME`.
    #[must_use]
    pub fn beat(&self, stage: &str) -> Beat {
        let (name, pulse) = (format!("stage {stage}"), Pulse::new(Instant::now()));
        self.lock().stages.insert(name.clone(), pulse.clone());
        Beat {
            pulse,
            readiness: self.clone(),
            name,
        }
    }

    /// The stage has ended.
    pub(crate) fn silence(&self, name: &str) {
        self.lock().stages.remove(name);
    }

    #[cfg(test)]
    pub(crate) fn age(&self, stage: &str, by: Duration) {
        if let Some(pulse) = self.lock().stages.get_mut(&format!("stage {stage}")) {
            pulse.set_age(by);
        }
    }

    /// The stages that hang, each with how long: the process is to be started again.
    #[must_use]
    pub fn stuck(&self) -> Vec<(String, Duration)> {
        let inner = self.lock();
        let ages = inner
            .stages
            .iter()
            .map(|(name, pulse)| (name.clone(), pulse.age()));
        ages.filter(|(_, age)| *age > STUCK).collect()
    }

    /// Shows how a component does, from `now` on; the same state again keeps its first time.
    pub fn set(&self, component: &str, state: State, now: SystemTime) {
        let mut inner = self.lock();
        match inner.components.get_mut(component) {
            Some(entry) if entry.state == state => {}
            Some(entry) => *entry = Entry { state, since: now },
            None => {
                inner
                    .components
                    .insert(component.to_owned(), Entry { state, since: now });
            }
        }
    }

    /// Forgets a component that is no more, such as a sink that a profile no longer names.
    pub fn remove(&self, component: &str) {
        self.lock().components.remove(component);
    }

    /// Whether every gate is open and every stage lives.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().gates().values().all(|open| *open)
    }

    /// The whole picture as of `now`.
    #[must_use]
    pub fn report(&self, now: SystemTime) -> Report {
        let inner = self.lock();
        let components = inner
            .components
            .iter()
            .map(|(name, entry)| {
                let seconds = now
                    .duration_since(entry.since)
                    .unwrap_or(Duration::ZERO)
                    .as_secs();
                (
                    name.clone(),
                    ComponentReport {
                        state: entry.state.clone(),
                        seconds,
                    },
                )
            })
            .collect();
        let gates = inner.gates();
        Report {
            ready: gates.values().all(|open| *open),
            gates,
            components,
        }
    }
}

/// A picture of readiness at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether all gates are open.
    pub ready: bool,
    /// Gates by name, stages among them.
    pub gates: BTreeMap<String, bool>,
    /// Components by name.
    pub components: BTreeMap<String, ComponentReport>,
}

/// One component of a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ComponentReport {
    /// Its state.
    #[serde(flatten)]
    pub state: State,
    /// For how many seconds.
    pub seconds: u64,
}

impl Report {
    /// The picture as lines, in the manner of Kubernetes' own `/readyz?verbose`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, open) in &self.gates {
            text.push_str(if *open { "[+] " } else { "[-] " });
            text.push_str(name);
            text.push_str(if *open { ": ok\n" } else { ": not ready\n" });
        }
        for (name, ComponentReport { state, seconds }) in &self.components {
            let line = match state {
                State::Starting => format!("[ ] {name}: starting for {seconds} s"),
                State::Live => format!("[+] {name}: live for {seconds} s"),
                State::Degraded { reason, remedy } => {
                    format!("[!] {name}: degraded for {seconds} s: {reason}; {remedy}")
                }
            };
            // Writing to a String cannot fail.
            writeln!(text, "{line}").ok();
        }
        text.push_str(if self.ready { "ready\n" } else { "not ready\n" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn degraded() -> State {
        State::Degraded {
            reason: "no server".into(),
            remedy: "start one".into(),
        }
    }

    #[test]
    fn readiness_is_decided_by_gates_alone() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let configuration = readiness.gate("configuration");
        let stages = readiness.gate("stages");
        assert!(!readiness.is_ready());
        configuration.open();
        stages.open();
        readiness.set("sink/default", degraded(), at(10));
        assert!(readiness.is_ready());
        stages.set(false);
        assert!(!readiness.is_ready());
    }

    #[test]
    fn gate_asked_for_twice_keeps_its_state() {
        let readiness = Readiness::new();
        readiness.gate("configuration").open();
        let again = readiness.gate("configuration");
        assert!(readiness.is_ready());
        again.set(false);
        assert!(!readiness.is_ready());
    }

    #[test]
    fn stage_without_a_sign_of_life_is_late_then_stuck_until_it_moves_or_ends() {
        let readiness = Readiness::new();
        let (drain, control) = (readiness.beat("drain"), readiness.beat("control"));
        assert!(readiness.is_ready());
        let age = |seconds| readiness.age("drain", Duration::from_secs(seconds));
        age(9);
        assert!(readiness.is_ready());
        age(2);
        let report = readiness.report(at(0));
        assert_eq!((report.ready, report.gates["stage drain"]), (false, false));
        assert!(report.gates["stage control"]);
        assert!(report.text().contains("[-] stage drain: not ready\n"));
        assert!(readiness.stuck().is_empty(), "it may move again");
        age(50);
        let stuck = readiness.stuck();
        assert_eq!(stuck.len(), 1);
        assert!(
            stuck[0].0 == "stage drain" && stuck[0].1 > Duration::from_mins(1),
            "{stuck:?}"
        );
        drop(drain);
        assert!(readiness.is_ready() && readiness.stuck().is_empty());
        control.tell();
    }

    #[test]
    fn component_repeating_its_state_keeps_its_first_time() {
        let readiness = Readiness::new();
        readiness.set("sink/default", degraded(), at(10));
        readiness.set("sink/default", degraded(), at(15));
        assert_eq!(readiness.report(at(20)).components["sink/default"].seconds, 10);
        readiness.set("sink/default", State::Live, at(25));
        let report = readiness.report(at(26));
        assert_eq!(
            report.components["sink/default"],
            ComponentReport {
                state: State::Live,
                seconds: 1
            }
        );
        readiness.remove("sink/default");
        assert!(readiness.report(at(26)).components.is_empty());
    }

    #[test]
    fn report_text_and_json_name_reason_and_remedy() {
        let readiness = Readiness::new();
        readiness.gate("configuration").open();
        readiness.set("sink/default", degraded(), at(10));
        let report = readiness.report(at(12));
        assert_eq!(
            report.text(),
            "[+] configuration: ok\n[!] sink/default: degraded for 2 s: no server; start one\nready\n"
        );
        let json = serde_json::to_value(&report).expect("serialises");
        assert_eq!(json["components"]["sink/default"]["state"], "degraded");
        assert_eq!(json["components"]["sink/default"]["remedy"], "start one");
        assert_eq!(json["ready"], true);
    }
}
