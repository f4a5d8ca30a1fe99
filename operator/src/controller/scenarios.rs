//! Controllers against a scripted API server: each test says what is there and which calls must come, and no others.

mod daemonset;
mod election;
mod profile;
mod rig;
mod sink;
mod watch;
