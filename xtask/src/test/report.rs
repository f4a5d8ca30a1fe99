//! Runs steps one after the other, and says at the end what became of each.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Outcome, reject};
use crate::{shell, table};

/// What became of the steps so far.
pub(crate) struct Report {
    strict: bool,
    start: Instant,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    end: End,
    took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Report {
    /// With `strict`, a step that cannot run has failed.
    pub(crate) fn new(strict: bool) -> Self {
        Self {
            strict,
            start: Instant::now(),
            rows: Vec::new(),
        }
    }

    /// Runs one step; its failure is kept for the end. Fails only when the user wants to stop.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        println!("\n=== {name}");
        let start = Instant::now();
        let result = step();
        shell::interrupted()?;
        let end = judge(result, self.strict);
        let took = start.elapsed();
        match &end {
            End::Passed => println!("=== {name}: passed in {}", seconds(took)),
            End::Failed(why) => println!("=== {name}: FAILED in {}: {why}", seconds(took)),
            End::Skipped(why) => println!("=== {name}: SKIPPED, THIS PROVES NOTHING: {why}"),
        }
        self.rows.push(Row {
            name: name.to_owned(),
            end,
            took,
        });
        Ok(())
    }

    /// Prints the table and the summary line; fails if any step did.
    pub(crate) fn finish(self) -> Result<()> {
        let mut table = table::new(&["step", "result", "time", ""], &[2]);
        let mut failed = Vec::new();
        let mut skipped = 0;
        for row in &self.rows {
            let (word, why) = match &row.end {
                End::Passed => ("passed", ""),
                End::Failed(why) => {
                    failed.push(row.name.clone());
                    ("FAILED", why.lines().next().unwrap_or_default())
                }
                End::Skipped(why) => {
                    skipped += 1;
                    ("skipped", why.as_str())
                }
            };
            table.add_row([&row.name, word, &seconds(row.took), why]);
        }
        println!("\n{table}");
        println!(
            "xtask test: {} passed, {} failed, {skipped} skipped in {}",
            self.rows.len() - failed.len() - skipped,
            failed.len(),
            seconds(self.start.elapsed()),
        );
        reject(&failed)
    }
}

fn judge(result: Result<Outcome>, strict: bool) -> End {
    match result {
        Ok(Outcome::Passed) => End::Passed,
        Ok(Outcome::Skipped(why)) if strict => End::Failed(format!("{why} (in CI nothing may be skipped)")),
        Ok(Outcome::Skipped(why)) => End::Skipped(why),
        Err(error) => End::Failed(format!("{error:#}")),
    }
}

fn seconds(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    let (minutes, tenths) = (tenths / 600, tenths % 600);
    if minutes == 0 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        format!("{minutes} min {} s", tenths / 10)
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn judge_skipped_fails_only_when_strict() {
        let skip = || Ok(Outcome::Skipped("no root".into()));
        assert_eq!(judge(skip(), false), End::Skipped("no root".into()));
        assert!(matches!(judge(skip(), true), End::Failed(why) if why.contains("no root")));
    }

    #[test]
    fn report_one_failure_lets_later_steps_run_and_fails_at_the_end() {
        let mut report = Report::new(false);
        let mut later = false;
        report.step("first", || Err(anyhow!("broken"))).expect("goes on");
        report
            .step("second", || {
                later = true;
                Ok(Outcome::Passed)
            })
            .expect("goes on");
        assert!(later);
        let error = report.finish().expect_err("one step failed");
        assert_eq!(error.to_string(), "failed: first");
    }

    #[test]
    fn seconds_long_times_are_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(1_250)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(725)), "12 min 5 s");
    }
}
