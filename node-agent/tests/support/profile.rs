//! Profiles of tests, as text.

use std::fmt::Write as _;

/// A profile named `p` with these events, each a YAML flow mapping, and what else its spec holds.
pub fn profile(spec: &str, events: &[&str]) -> String {
    let mut text =
        String::from("apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {name: p}\nspec:\n");
    for line in spec.lines() {
        writeln!(text, "  {line}").expect("a string takes it");
    }
    text.push_str("  events:\n");
    for event in events {
        writeln!(text, "    - {event}").expect("a string takes it");
    }
    text
}
