//! The table: rows with what they are compared with and what the budget says; as text, as Markdown, as JSON.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::machine::Machine;
use crate::procfs;
use crate::stat::Samples;

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) weir: Samples,
    pub(crate) other: Option<Other>,
    /// Ours by theirs (or theirs by ours, where more is better), round by round.
    pub(crate) ratio: Option<Samples>,
    pub(crate) budget: Option<Budget>,
    pub(crate) note: String,
    /// Load averages when it was taken.
    pub(crate) load: String,
}

/// What was measured beside it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Other {
    pub(crate) name: String,
    pub(crate) value: Samples,
}

/// What was promised.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Budget {
    pub(crate) text: String,
    pub(crate) met: bool,
}

impl Row {
    /// A row of our value alone.
    pub(crate) fn new(
        group: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        weir: Samples,
    ) -> Self {
        Self {
            group,
            what: what.into(),
            unit,
            weir,
            other: None,
            ratio: None,
            budget: None,
            note: String::new(),
            load: procfs::load(),
        }
    }

    /// Beside another's value in the same unit; the ratio is ours by theirs.
    pub(crate) fn beside(mut self, name: impl Into<String>, value: Samples) -> Self {
        self.ratio = Some(self.weir.per(&value));
        self.other = Some(Other {
            name: name.into(),
            value,
        });
        self
    }

    /// As [`Self::beside`], the ratio being theirs by ours: how many times faster we are.
    pub(crate) fn faster_than(mut self, name: impl Into<String>, value: Samples) -> Self {
        self.ratio = Some(value.per(&self.weir));
        self.other = Some(Other {
            name: name.into(),
            value,
        });
        self
    }

    /// Our median must be at most this.
    pub(crate) fn at_most(self, bound: f64, text: &str) -> Self {
        let met = self.weir.median <= bound;
        self.promised(met, text)
    }

    /// Our median must be at least this.
    pub(crate) fn at_least(self, bound: f64, text: &str) -> Self {
        let met = self.weir.median >= bound;
        self.promised(met, text)
    }

    /// The ratio's median must be at most this.
    pub(crate) fn ratio_at_most(self, bound: f64, text: &str) -> Self {
        let met = self.ratio.as_ref().is_some_and(|ratio| ratio.median <= bound);
        self.promised(met, text)
    }

    /// The ratio's median must be at least this.
    pub(crate) fn ratio_at_least(self, bound: f64, text: &str) -> Self {
        let met = self.ratio.as_ref().is_some_and(|ratio| ratio.median >= bound);
        self.promised(met, text)
    }

    fn promised(mut self, met: bool, text: &str) -> Self {
        self.budget = Some(Budget {
            text: text.to_owned(),
            met,
        });
        self
    }

    /// What a reader must know of it.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn cells(&self) -> [String; 6] {
        let other = self.other.as_ref();
        [
            self.what.clone(),
            format!("{} {}", spread(&self.weir), self.unit),
            other
                .map(|other| format!("{}: {}", other.name, number(other.value.median)))
                .unwrap_or_default(),
            self.ratio.as_ref().map(spread).unwrap_or_default(),
            self.budget
                .as_ref()
                .map(|budget| budget.text.clone())
                .unwrap_or_default(),
            self.budget
                .as_ref()
                .map(|budget| if budget.met { "yes" } else { "NO" }.to_owned())
                .unwrap_or_default(),
        ]
    }
}

const HEADER: [&str; 6] = [
    "what",
    "Weir: median (min-max)",
    "beside",
    "ratio",
    "budget",
    "met",
];

/// All that one run found.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Load averages after the last measurement.
    pub(crate) load_after: String,
    pub(crate) seconds: u64,
    pub(crate) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
}

impl Report {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(UTF8_BORDERS_ONLY.with_rounded_corners())
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(HEADER);
        for row in &self.rows {
            table.add_row(row.cells());
        }
        format!("{table}\n{}", self.foot())
    }

    /// For `docs/performance.md`.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|---|---|---|---|---|\n", HEADER.join(" | "));
        for row in &self.rows {
            // Writing to a String cannot fail.
            writeln!(text, "| {} |", row.cells().join(" | ")).ok();
        }
        text + "\n" + &self.foot()
    }

    fn foot(&self) -> String {
        let Machine {
            cpu,
            cpus,
            memory_gib,
            kernel,
            date,
            load_before,
        } = &self.machine;
        let mut text = format!(
            "{date}, {cpus} CPUs ({cpu}), {memory_gib} GiB, Linux {kernel}; {} s; load average before {load_before}, after {}\n",
            self.seconds, self.load_after
        );
        for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
            // Writing to a String cannot fail.
            writeln!(text, "* {}: {}", row.what, row.note).ok();
        }
        for skipped in &self.skipped {
            // As above.
            writeln!(text, "* skipped: {skipped}").ok();
        }
        text
    }
}

/// The median, and the range where there is one.
fn spread(samples: &Samples) -> String {
    let Samples {
        median,
        min,
        max,
        rounds,
    } = samples;
    if rounds.len() < 2 {
        return number(*median);
    }
    format!("{} ({}-{})", number(*median), number(*min), number(*max))
}

/// Three significant digits.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{:.2} M", value / 1e6)
    } else if size >= 1e4 {
        format!("{:.0} k", value / 1e3)
    } else if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_keeps_three_digits() {
        let cases = [
            (0.05, "0.05"),
            (12.34, "12.3"),
            (456.7, "457"),
            (34_567.0, "35 k"),
            (2_345_678.0, "2.35 M"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn budgets_are_judged_by_the_median() {
        let row = || Row::new("g", "w", "ns", Samples::of(vec![1.0, 2.0, 9.0]));
        let met = |row: Row| row.budget.map(|budget| budget.met);
        assert_eq!(met(row().at_most(2.0, "")), Some(true));
        assert_eq!(met(row().at_least(2.1, "")), Some(false));
        let beside = row().faster_than("x", Samples::of(vec![4.0, 8.0, 36.0]));
        assert_eq!(met(beside.clone().ratio_at_least(4.0, "")), Some(true));
        assert_eq!(met(beside.ratio_at_most(3.9, "")), Some(false));
    }
}
