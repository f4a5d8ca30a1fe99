//! `weir-agent`.

fn main() {}
