//! Tests against a real cluster: what the scenarios share.
//!
//! A test knows a kubeconfig and nothing about how the cluster was made; only tests of failures use
//! [`harness::Harness`], which the local provider offers. This crate asserts nothing about Weir itself.

pub mod audit;
pub mod bundle;
pub mod cluster;
pub mod harness;
pub mod wait;
pub mod workload;
