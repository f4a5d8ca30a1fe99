//! The consumer's side: types generated from the schema, read from protobuf and from canonical JSON.
//!
//! For consumers, tests and benchmarks; shares no code with the encoders but the schema.

#![allow(clippy::pedantic, missing_docs, reason = "generated code stands among it")]

include!(concat!(env!("OUT_DIR"), "/weir.v1.rs"));
include!(concat!(env!("OUT_DIR"), "/weir.v1.serde.rs"));
