//! Every rule of every type: [`crate::validate`] meets a rule's CEL text in the schema, and finds its Rust side here. A test
//! holds the two sides together.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::rule::Rule;
use super::{matches, profile, selector, sink};
use crate::kind;

/// Every rule of every type, by its CEL text.
static RULES: LazyLock<BTreeMap<String, Rule>> = LazyLock::new(|| {
    [
        selector::rules(),
        matches::string_match_rules(),
        matches::port_range_rules(),
        matches::match_rules(),
        kind::rules(),
        profile::limits_rules(),
        profile::name_rules(),
        sink::stream_rules(),
    ]
    .into_iter()
    .flatten()
    .map(|rule| (rule.cel.clone(), rule))
    .collect()
});

/// The rule with this CEL text.
pub(crate) fn find(cel: &str) -> Option<&'static Rule> {
    RULES.get(cel)
}
