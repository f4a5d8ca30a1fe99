//! `weir-agent check FILE...`: the reading that `run` does, and everything it would say.

use std::fmt;
use std::path::PathBuf;

use weir_profile::Plan;
use weir_profile::api::Mode;

use super::{ConfigError, Files};

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// What `run` would collect; empty when there are errors.
    pub plans: Vec<Plan>,
    /// All that is wrong. If there is anything, the exit code is 64.
    pub errors: Vec<ConfigError>,
}

/// Reads the files as `run` would at its start. Attaches nothing and connects to nothing.
#[must_use]
pub fn check(paths: Vec<PathBuf>, sink: Option<&str>) -> Report {
    let started = Files::new(paths, sink)
        .map_err(|error| vec![error])
        .and_then(|mut files| files.start());
    match started {
        Ok(desired) => Report {
            plans: desired.plans,
            errors: Vec::new(),
        },
        Err(errors) => Report {
            plans: Vec::new(),
            errors,
        },
    }
}

impl Report {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.errors.is_empty()
    }
}

/// One line per error, or one per profile.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "error: {error}")?;
        }
        for plan in &self.plans {
            let mode = match plan.mode {
                Mode::Active => "",
                Mode::DryRun => ", dry run: counts and emits nothing",
                Mode::Suspended => ", suspended: collects nothing",
            };
            let kinds = plan
                .events
                .iter()
                .map(|event| event.kind.as_str())
                .collect::<std::collections::BTreeSet<_>>();
            let kinds = kinds.into_iter().collect::<Vec<_>>().join(", ");
            let (name, events, sink) = (&plan.name, plan.events.len(), &plan.sink.name);
            writeln!(
                f,
                "ok: CollectorProfile {name:?}: {events} events ({kinds}) to sink {sink:?}{mode}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.yaml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn check_good_file_names_profile_kinds_and_sink() {
        let (_dir, path) = file(
            "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {name: base}\n\
             spec: {mode: DryRun, events: [{name: a, kind: process.exec}, {name: b, kind: file.open}]}\n",
        );
        let report = check(vec![path], Some("stdout"));
        assert!(report.is_good(), "{report}");
        let expected = "ok: CollectorProfile \"base\": 2 events (file.open, process.exec) to sink \"cli\", dry run: \
                        counts and emits nothing\n";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn check_bad_files_say_everything_at_once() {
        let (_dir, path) = file(
            "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {name: base}\n\
             spec: {events: [{name: a, kind: process.exec, limit: {eventsPerSecond: 0}}, {name: a, kind: no.such}]}\n",
        );
        let missing = path.with_file_name("missing.yaml");
        let report = check(vec![path, missing], Some("stdout"));
        assert!(!report.is_good() && report.plans.is_empty());
        let text = report.to_string();
        for part in [
            "profile.yaml: document 1",
            "eventsPerSecond",
            "no.such",
            "missing.yaml: cannot be read",
        ] {
            assert!(text.contains(part), "{part} not in {text}");
        }
        assert!(text.lines().all(|line| line.starts_with("error: ")), "{text}");
    }

    #[test]
    fn check_bad_sink_url_is_one_error() {
        let (_dir, path) = file("");
        let report = check(vec![path], Some("kafka://x"));
        assert_eq!(report.errors.len(), 1);
        assert!(report.to_string().starts_with("error: --sink: "), "{report}");
    }
}
