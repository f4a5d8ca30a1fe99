//! Reads the tables of `docs/telemetry.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A table: its heading cells and its rows.
struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// The page's tables, in order.
pub struct Page {
    tables: Vec<Table>,
}

/// A row of a table of labels.
pub struct LabelRow {
    pub label: String,
    /// The metrics that it speaks of.
    pub metrics: BTreeSet<String>,
    /// The closed set; empty for names that users give.
    pub values: BTreeSet<String>,
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

/// The words in backticks of a cell.
fn code(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

impl Page {
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the page can be read");
        let mut tables: Vec<Table> = Vec::new();
        let mut in_table = false;
        for line in text.lines() {
            let Some(row) = cells(line) else {
                in_table = false;
                continue;
            };
            if !in_table {
                tables.push(Table {
                    heads: row,
                    rows: Vec::new(),
                });
                in_table = true;
            } else if row.iter().any(|cell| cell.chars().any(|letter| letter != '-')) {
                tables.last_mut().expect("a table has begun").rows.push(row);
            }
        }
        Self { tables }
    }

    fn rows<'a>(&'a self, first_head: &'a str) -> impl Iterator<Item = &'a Vec<String>> {
        let named = move |table: &&Table| table.heads.first().is_some_and(|head| head == first_head);
        let mut found = self.tables.iter().filter(named).peekable();
        assert!(found.peek().is_some(), "the page has a table of {first_head}");
        found.flat_map(|table| &table.rows)
    }

    /// Type and labels of each metric that begins with `prefix`.
    pub fn metrics(&self, prefix: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let rows = self.rows("metric").filter_map(|row| {
            let name = code(&row[0]).into_iter().next()?;
            name.starts_with(prefix)
                .then(|| (name, (row[1].clone(), code(&row[3]))))
        });
        rows.collect()
    }

    /// What is said of labels of the metrics that begin with `prefix`. A row for "all" is for those with the label
    /// that no other row names.
    pub fn labels(&self, prefix: &str) -> Vec<LabelRow> {
        let all = self.metrics(prefix);
        let with = |label: &str| -> BTreeSet<String> {
            all.iter()
                .filter(|(_, (_, labels))| labels.contains(label))
                .map(|(name, _)| name.clone())
                .collect()
        };
        let rows: Vec<LabelRow> = self
            .rows("label")
            .map(|row| LabelRow {
                label: code(&row[0]).into_iter().next().unwrap_or_default(),
                metrics: if row[1] == "all" {
                    BTreeSet::new()
                } else {
                    code(&row[1])
                },
                values: code(&row[2]),
            })
            .filter(|row| row.metrics.is_empty() || row.metrics.iter().any(|name| name.starts_with(prefix)))
            .collect();
        let named: BTreeSet<(String, String)> = rows
            .iter()
            .flat_map(|row| row.metrics.iter().map(|name| (row.label.clone(), name.clone())))
            .collect();
        rows.into_iter()
            .map(|row| {
                if !row.metrics.is_empty() {
                    return row;
                }
                let mut metrics = with(&row.label);
                metrics.retain(|name| !named.contains(&(row.label.clone(), name.clone())));
                LabelRow { metrics, ..row }
            })
            .filter(|row| !row.metrics.is_empty())
            .collect()
    }

    /// How many labels are spoken of.
    pub fn label_rows(&self) -> usize {
        self.rows("label").count()
    }

    /// Each (label, metric) that the tables of labels speak of.
    pub fn label_uses(&self, prefix: &str) -> BTreeSet<(String, String)> {
        let rows = self.labels(prefix);
        rows.iter()
            .flat_map(|row| row.metrics.iter().map(|name| (row.label.clone(), name.clone())))
            .collect()
    }

    /// The fields in the table whose first head is `title`: those always there, and those left out when empty.
    pub fn fields(&self, title: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let mut always = BTreeSet::new();
        let mut optional = BTreeSet::new();
        let typed = |table: &&Table| table.heads[0] == title && table.heads[1] == "type";
        for row in self.tables.iter().filter(typed).flat_map(|table| &table.rows) {
            let to = if row[1].contains("left out when empty") {
                &mut optional
            } else {
                &mut always
            };
            to.extend(code(&row[0]));
        }
        assert!(!always.is_empty(), "the page has a table of {title}");
        (always, optional)
    }
}
