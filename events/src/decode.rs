//! The consumer's side: types generated from the schema, read from protobuf and from canonical JSON.
//!
//! For consumers, tests and benchmarks. It shares the schema with the encoders, and no writing code.

mod cloud_event;
mod expand;
mod owned;

#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "generated from the schema, whose specification is docs/unified-event.md"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/weir.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/weir.v1.serde.rs"));
}

pub use cloud_event::CloudEvent;
pub use expand::ExpandError;
pub use generated::*;

/// The schema as a serialized `google.protobuf.FileDescriptorSet`, comments included.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/weir.v1.descriptors.bin"));

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is not protobuf, or not an `EventBatch`.
    #[error(
        "payload is not a weir.v1.EventBatch; was it compressed, or is its content-type not application/protobuf?"
    )]
    Protobuf(#[source] prost::DecodeError),
    /// It is not JSON, or not a batch of events.
    #[error("payload is not a CloudEvents JSON batch of weir.v1 events; is it compressed, or protobuf?")]
    Json(#[source] serde_json::Error),
    /// It is an `EventBatch` that contradicts itself.
    #[error("weir.v1.EventBatch contradicts itself")]
    Expand(#[source] ExpandError),
}

/// Reads a protobuf message and gives each event the fields that the batch holds for it.
pub fn decode_protobuf(payload: &[u8]) -> Result<Vec<UnifiedEvent>, DecodeError> {
    let batch: EventBatch = prost::Message::decode(payload).map_err(DecodeError::Protobuf)?;
    batch.expand().map_err(DecodeError::Expand)
}

/// Reads a JSON message.
pub fn decode_json(payload: &[u8]) -> Result<Vec<CloudEvent>, DecodeError> {
    serde_json::from_slice(payload).map_err(DecodeError::Json)
}
