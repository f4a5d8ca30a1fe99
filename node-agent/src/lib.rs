//! The node agent: loads the programs, attributes, encodes, publishes, keeps the ledger.

pub mod admin;
pub mod batch;
pub mod bpf;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod decode;
pub mod drain;
pub mod enrich;
pub mod ledger;
pub mod lock;
pub mod metrics;
pub mod probe;
pub mod publish;
pub mod run;
pub mod state;
