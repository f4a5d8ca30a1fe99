//! What is wrong, by reason: counts, a few names, one message. Bounded, and the same in whatever order nodes came.

use std::collections::BTreeMap;

use weir_profile::api::{ConditionReason, Problem};

/// Names kept per reason.
const EXAMPLES: usize = 3;
/// Reasons shown.
const MAX_PROBLEMS: usize = 10;
/// Characters of a message; the schema takes 256, and ten of them with their names must stay below 8 KiB.
const MESSAGE_CHARS: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    nodes: u32,
    /// The first nodes by name, with their message.
    first: BTreeMap<String, String>,
}

/// Problems by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(BTreeMap<ConditionReason, Found>);

impl Problems {
    /// Counts a node once for a reason.
    pub(super) fn add(&mut self, reason: ConditionReason, node: &str, message: &str) {
        let found = self.0.entry(reason).or_insert_with(|| Found {
            nodes: 0,
            first: BTreeMap::new(),
        });
        found.nodes += 1;
        let earlier = found
            .first
            .last_key_value()
            .is_none_or(|(last, _)| node < last.as_str());
        if found.first.len() < EXAMPLES || earlier {
            found.first.insert(node.to_owned(), message.to_owned());
            if found.first.len() > EXAMPLES {
                found.first.pop_last();
            }
        }
    }

    /// The reason that most nodes give, the first of the enum on a tie, with the first node's message.
    #[must_use]
    pub fn most(&self) -> Option<(ConditionReason, u32, &str)> {
        let (reason, found) = self
            .0
            .iter()
            .min_by_key(|(reason, found)| (u32::MAX - found.nodes, **reason))?;
        let message = found
            .first
            .first_key_value()
            .map_or("", |(_, message)| message.as_str());
        Some((*reason, found.nodes, message))
    }

    /// Whether any node gives this reason.
    #[must_use]
    pub fn has(&self, reason: ConditionReason) -> bool {
        self.0.contains_key(&reason)
    }

    /// How many nodes give this reason.
    #[must_use]
    pub fn nodes(&self, reason: ConditionReason) -> u32 {
        self.0.get(&reason).map_or(0, |found| found.nodes)
    }

    /// No problem at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All problems of several kinds, most nodes first.
    #[must_use]
    pub fn list(all: &[&Self]) -> Vec<Problem> {
        let mut found: Vec<(ConditionReason, &Found)> = all
            .iter()
            .flat_map(|problems| problems.0.iter().map(|(reason, found)| (*reason, found)))
            .collect();
        found.sort_by_key(|(reason, found)| (u32::MAX - found.nodes, *reason));
        found.truncate(MAX_PROBLEMS);
        found
            .into_iter()
            .map(|(reason, found)| Problem {
                reason,
                nodes: i32::try_from(found.nodes).unwrap_or(i32::MAX),
                examples: found.first.keys().cloned().collect(),
                message: clip(
                    found.first.values().next().map_or("", String::as_str),
                    MESSAGE_CHARS,
                ),
            })
            .collect()
    }
}

/// At most `chars` characters, with a mark where something is missing.
pub(super) fn clip(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(chars.saturating_sub(1)).collect();
    clipped.push('…');
    clipped
}
