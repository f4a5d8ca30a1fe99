//! The operator: profiles and sinks into one DaemonSet and truthful status.

fn main() {}
