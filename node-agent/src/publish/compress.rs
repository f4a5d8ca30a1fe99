//! Compressing a sealed batch, once: every retry sends the same bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::SealedBatch;

/// The header that says how a payload is compressed.
pub(crate) const CONTENT_ENCODING: &str = "content-encoding";
/// zstd's fastest regular level: 3 to 12 times smaller here at about 5 ns per byte.
const LEVEL: i32 = 1;

/// The batch with a compressed payload; as it is where that would not be smaller, or cannot be done.
pub(crate) fn compressed(batch: &Arc<SealedBatch>) -> Arc<SealedBatch> {
    if batch.headers.iter().any(|(name, _)| *name == CONTENT_ENCODING) {
        return Arc::clone(batch);
    }
    match zstd::bulk::compress(&batch.payload, LEVEL) {
        Ok(payload) if payload.len() < batch.payload.len() => {
            let mut smaller = SealedBatch::clone(batch);
            smaller.payload = Bytes::from(payload);
            smaller.headers.push((CONTENT_ENCODING, "zstd".to_owned()));
            Arc::new(smaller)
        }
        Ok(_larger) => Arc::clone(batch),
        Err(error) => {
            tracing::warn!(%error, "compressing a batch failed; it is sent as it is");
            Arc::clone(batch)
        }
    }
}
