//! Label selectors: the Kubernetes semantics with bounds.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use serde_json::Value;

use super::rule::{Rule, attach, items};

/// `prefix/name`, where the prefix is a DNS subdomain; lengths are bounded separately.
pub(crate) const LABEL_KEY: &str =
    "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
pub(crate) const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";

closed_enum! {
    /// How a label is compared with `values`.
    pub enum Operator {
        /// The label is one of `values`.
        In = "In",
        /// The label is absent or none of `values`.
        NotIn = "NotIn",
        /// The label is there, whatever its value.
        Exists = "Exists",
        /// The label is absent.
        DoesNotExist = "DoesNotExist",
    }
}

/// Selects objects by label. All terms must hold; `{}` selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values, of at most 63 characters; at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels_schema")]
    pub match_labels: BTreeMap<String, String>,
    /// Further terms; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One term of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline, transform = attach_rules)]
pub struct LabelRequirement {
    /// The label's key, at most 317 characters with its prefix.
    #[schemars(length(min = 1, max = 317), regex(pattern = LABEL_KEY))]
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// Values to compare with, of at most 63 characters: 1 to 16 of them for `In` and `NotIn`, none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(length(max = 63), regex(pattern = LABEL_VALUE)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub values: Vec<String>,
}

fn labels_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
    })
}

fn attach_rules(schema: &mut Schema) {
    attach(schema, &rules());
}

pub(crate) fn rules() -> Vec<Rule> {
    vec![Rule::new(
        ".values",
        "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : \
         !has(self.values) || size(self.values) == 0",
        "operator In and NotIn need at least one value, Exists and DoesNotExist take none; change operator or values",
        |term| match term.get("operator").and_then(Value::as_str) {
            Some("In" | "NotIn") => !items(term, "values").is_empty(),
            Some("Exists" | "DoesNotExist") => items(term, "values").is_empty(),
            _ => true,
        },
    )]
}

impl LabelSelector {
    /// True when every object is selected.
    #[must_use]
    pub fn selects_everything(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|term| term.matches(labels))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn term(key: &str, operator: Operator, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_labels: BTreeMap::new(),
            match_expressions: vec![LabelRequirement {
                key: key.to_owned(),
                operator,
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn empty_selector_selects_everything() {
        assert!(LabelSelector::default().matches(&labels(&[])));
        assert!(LabelSelector::default().selects_everything());
    }

    #[test]
    fn operators_follow_kubernetes() {
        let web = labels(&[("tier", "web")]);
        let bare = labels(&[]);
        for (selector, on_web, on_bare) in [
            (term("tier", Operator::In, &["web", "db"]), true, false),
            (term("tier", Operator::NotIn, &["web"]), false, true),
            (term("tier", Operator::Exists, &[]), true, false),
            (term("tier", Operator::DoesNotExist, &[]), false, true),
        ] {
            assert_eq!(selector.matches(&web), on_web, "{selector:?}");
            assert_eq!(selector.matches(&bare), on_bare, "{selector:?}");
        }
    }
}
