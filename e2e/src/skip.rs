//! Tests that cannot run here: visible to whoever runs them, and a failure where they were expected.

use std::io::Write as _;

/// Says that a test proves nothing here. Written past libtest, which keeps what a passing test prints to itself.
pub fn loudly(why: &str) {
    let line = format!("SKIPPED, THIS PROVES NOTHING: {why}\n");
    // Who closed standard error does not want to know.
    std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
}

/// Whether this is a CI run, in which nothing real may be missing.
#[must_use]
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}
