//! Reads `OpenMetrics` text.

use std::collections::{BTreeMap, BTreeSet};

/// Metrics by the name of their series, with type and labels' values.
#[derive(Debug, Default)]
pub struct Scrape {
    metrics: BTreeMap<String, Metric>,
}

#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// The name under which people ask for a family.
fn series(family: &str, kind: &str) -> String {
    match kind {
        "counter" => format!("{family}_total"),
        "info" => format!("{family}_info"),
        _ => family.to_owned(),
    }
}

/// `a="b",c="d"`; no value here holds a quote or a comma.
fn labels(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split(',').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    })
}

impl Scrape {
    pub fn parse(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "cut short: {text}");
        let mut families: BTreeMap<String, String> = BTreeMap::new();
        let mut scrape = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (family, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(
                    families.insert(family.to_owned(), kind.to_owned()),
                    None,
                    "{family} twice"
                );
            } else if !line.starts_with('#') {
                let end = line.find(['{', ' ']).expect("a value");
                let (name, rest) = line.split_at(end);
                let (family, kind) = families
                    .iter()
                    .filter(|(family, _)| name.starts_with(family.as_str()))
                    .max_by_key(|(family, _)| family.len())
                    .expect("a type before the value");
                let metric = scrape.metrics.entry(series(family, kind)).or_default();
                metric.kind.clone_from(kind);
                let inner = rest
                    .strip_prefix('{')
                    .and_then(|rest| rest.split_once('}'))
                    .map_or("", |parts| parts.0);
                // A histogram's own label.
                for (label, value) in labels(inner).filter(|(label, _)| label != "le") {
                    metric.labels.entry(label).or_default().insert(value);
                }
            }
        }
        for (family, kind) in &families {
            assert!(
                scrape.metrics.contains_key(&series(family, kind)),
                "{family} has no value"
            );
        }
        scrape
    }

    pub fn merge(&mut self, other: Self) {
        for (name, theirs) in other.metrics {
            let ours = self.metrics.entry(name).or_default();
            ours.kind = theirs.kind;
            for (label, values) in theirs.labels {
                ours.labels.entry(label).or_default().extend(values);
            }
        }
    }

    pub fn has(&self, metric: &str, label: &str, value: &str) -> bool {
        let values = self
            .metrics
            .get(metric)
            .and_then(|metric| metric.labels.get(label));
        values.is_some_and(|values| values.contains(value))
    }

    /// Whether any metric has the label.
    pub fn is_about(&self, label: &str) -> bool {
        self.metrics
            .values()
            .any(|metric| metric.labels.contains_key(label))
    }

    /// Type and labels by metric.
    pub fn metrics(&self) -> BTreeMap<String, (String, BTreeSet<String>)> {
        let shape = |metric: &Metric| (metric.kind.clone(), metric.labels.keys().cloned().collect());
        self.metrics
            .iter()
            .map(|(name, metric)| (name.clone(), shape(metric)))
            .collect()
    }

    /// Each (label, metric).
    pub fn labels(&self) -> impl Iterator<Item = (String, String)> {
        self.metrics.iter().flat_map(|(name, metric)| {
            metric
                .labels
                .keys()
                .map(move |label| (label.clone(), name.clone()))
        })
    }

    /// The label's values in these metrics.
    pub fn values(&self, label: &str, metrics: &BTreeSet<String>) -> BTreeSet<String> {
        let of = metrics
            .iter()
            .filter_map(|name| self.metrics.get(name)?.labels.get(label));
        of.flatten().cloned().collect()
    }
}
