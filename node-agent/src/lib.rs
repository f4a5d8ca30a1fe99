//! The node agent: loads the programs, attributes, encodes, publishes, keeps the ledger.

pub mod batch;
pub mod config;
pub mod enrich;
pub mod ledger;
