//! The patterns of our schemas, compiled once, and what each asks for in words.

use std::sync::LazyLock;

use regex_lite::Regex;

use crate::api::DNS_LABEL;
use crate::api::matches::{COMM, PATH};
use crate::api::quantity::QUANTITY_PATTERN;
use crate::api::selector::{LABEL_KEY, LABEL_VALUE};
use crate::api::sink::{SECRET_KEY, SECRET_NAME, SERVER, STREAM_NAME, SUBJECT_PREFIX};

/// Every pattern with its remedy; a test holds the list complete.
const PATTERNS: &[(&str, &str)] = &[
    (
        DNS_LABEL,
        "use 1 to 63 lower case letters, digits and '-', a letter or digit first and last",
    ),
    (COMM, "use printable ASCII"),
    (PATH, "use an absolute path in printable ASCII"),
    (
        QUANTITY_PATTERN,
        "use a whole number of bytes, such as 512Mi or 10G",
    ),
    (LABEL_KEY, "use a label key, such as tier or example.org/tier"),
    (
        LABEL_VALUE,
        "use a label value: letters, digits, '-', '_' and '.', a letter or digit first and last",
    ),
    (SERVER, "use nats://HOST:PORT or tls://HOST:PORT"),
    (
        SUBJECT_PREFIX,
        "use tokens of letters, digits, '-' and '_', separated by dots",
    ),
    (STREAM_NAME, "use letters, digits, '-' and '_'"),
    (
        SECRET_NAME,
        "use the name of a Secret: lower case letters, digits, '-' and '.'",
    ),
    (
        SECRET_KEY,
        "use a key of a Secret: letters, digits, '-', '_' and '.'",
    ),
];

static COMPILED: LazyLock<Vec<(&'static str, Option<Regex>)>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .map(|(pattern, _)| (*pattern, Regex::new(pattern).ok()))
        .collect()
});

/// Whether a text has a pattern of our schemas; one that is not listed refuses everything, and a test.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    COMPILED
        .iter()
        .find(|(known, _)| *known == pattern)
        .is_some_and(|(_, regex)| regex.as_ref().is_some_and(|regex| regex.is_match(text)))
}

/// What to write instead.
pub(super) fn remedy(pattern: &str) -> &'static str {
    PATTERNS
        .iter()
        .find(|(known, _)| *known == pattern)
        .map_or("correct it", |(_, remedy)| remedy)
}

#[cfg(test)]
pub(super) fn is_listed(pattern: &str) -> bool {
    COMPILED
        .iter()
        .any(|(known, regex)| *known == pattern && regex.is_some())
}
