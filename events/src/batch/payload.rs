//! Memory of payloads, used again once nobody reads the earlier one any more.
//!
//! A large allocation is a mapping of its own in many allocators: new pages are cleared, faulted in and unmapped for
//! every message, which costs more than the copy.

use std::collections::VecDeque;

use bytes::Bytes;

/// Payloads whose memory may be used again: at usual rates the eighth-last message was answered long ago. More would
/// only hold memory.
const KEPT: usize = 8;

/// The last payloads that were sealed, shared with whoever sends them.
#[derive(Debug, Default)]
pub struct Payloads {
    earlier: VecDeque<Bytes>,
}

impl Payloads {
    /// `parts` behind each other, in the oldest payload's memory if it was sent, else in memory of its own.
    pub(super) fn copy(&mut self, parts: &[&[u8]]) -> Bytes {
        let oldest = if self.earlier.len() < KEPT {
            None
        } else {
            self.earlier.pop_front()
        };
        let mut memory = oldest
            .and_then(|oldest| oldest.try_into_mut().ok())
            .unwrap_or_default();
        memory.clear();
        memory.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            memory.extend_from_slice(part);
        }
        let payload = memory.freeze();
        self.earlier.push_back(payload.clone());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payload_that_is_still_read_keeps_its_bytes() {
        let mut payloads = Payloads::default();
        let held: Vec<Bytes> = (0..=u8::MAX)
            .map(|byte| payloads.copy(&[&[byte; 100], &[byte; 28]]))
            .collect();
        for (byte, payload) in (0..=u8::MAX).zip(&held) {
            assert_eq!(payload[..], [byte; 128]);
        }
        assert_eq!(payloads.earlier.len(), KEPT);
    }

    #[test]
    fn longer_and_shorter_payloads_share_memory() {
        let mut payloads = Payloads::default();
        for length in (0..100).map(|round| round * 37 % 1009) {
            let part = vec![1; length];
            assert_eq!(payloads.copy(&[&part])[..], part);
        }
    }
}
