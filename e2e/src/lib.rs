//! Tests against a real cluster: what the scenarios share.
//!
//! A test knows a kubeconfig and nothing about how the cluster was made; only tests of failures use
//! [`harness::Harness`], which the local provider offers. Assertions about Weir are in `tests/`, one file per theme.

pub mod agent;
pub mod audit;
pub mod bundle;
pub mod cluster;
pub mod command;
pub mod harness;
pub mod node;
pub mod operator;
pub mod permit;
pub mod process;
pub mod profile;
pub mod programs;
pub mod scenario;
pub mod skip;
pub mod stream;
pub mod told;
pub mod wait;
pub mod workload;
