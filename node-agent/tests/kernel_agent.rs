//! The whole agent on the real kernel: real programs, real files, real connections, a real nats-server. What the
//! workload itself counted is compared with what arrived and with the ledger.
//!
//! These tests do not prove attribution to pods (`enrich`), nor a cluster's configuration (`e2e`).

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]
#![expect(
    unreachable_pub,
    reason = "the helper modules of a test have no public interface"
)]

#[path = "support/agent.rs"]
mod agent;
#[path = "support/ledger.rs"]
mod ledger;
#[path = "support/mount.rs"]
mod mount;
#[path = "support/profile.rs"]
mod profile;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "these tests need only a part of it")]
mod server;
#[path = "support/stream.rs"]
mod stream;
#[path = "support/wait.rs"]
mod wait;
#[path = "support/workload.rs"]
mod workload;

#[path = "kernel_agent/cgroup.rs"]
mod cgroup;
#[path = "kernel_agent/connect.rs"]
mod connect;
#[path = "kernel_agent/delivery.rs"]
mod delivery;
#[path = "kernel_agent/edit.rs"]
mod edit;
#[path = "kernel_agent/input.rs"]
mod input;
#[path = "kernel_agent/limit.rs"]
mod limit;
#[path = "kernel_agent/open.rs"]
mod open;
#[path = "kernel_agent/process.rs"]
mod process;
#[path = "kernel_agent/sink.rs"]
mod sink;
#[path = "kernel_agent/slot.rs"]
mod slot;
#[path = "kernel_agent/storm.rs"]
mod storm;
