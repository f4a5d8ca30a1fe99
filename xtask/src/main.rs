//! Everything a person types: cargo xtask demo, test, bench, crds.

fn main() {}
