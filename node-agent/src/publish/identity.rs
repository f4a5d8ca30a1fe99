//! Who speaks in the agent's own events, and their encoding by [`weir_events`].

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_events::agent::{AgentLoss, LossRange as AnnouncedRange};
use weir_events::{AgentHeader, agent_subject, encode_agent_event, message_id};

use super::agent_events::{AgentEvent, AgentMessage, AgentSlot, LossEncoder, LossRange};

/// The node and this life of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentIdentity {
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// The agent's life.
    pub epoch: u64,
}

impl AgentIdentity {
    /// An event that waits for its `seq`; an unsent one of the same `key` is replaced.
    #[must_use]
    pub fn event(
        self: &Arc<Self>,
        key: String,
        time: SystemTime,
        event: weir_events::AgentEvent,
    ) -> AgentEvent {
        let identity = Arc::clone(self);
        AgentEvent {
            key,
            encode: Box::new(move |slot| identity.encode(slot, time, &event)),
        }
    }

    /// Writes `agent.loss`, dated when it is sealed.
    #[must_use]
    pub fn losses(self: &Arc<Self>) -> LossEncoder {
        let identity = Arc::clone(self);
        Arc::new(move |ranges, slot| identity.encode(slot, SystemTime::now(), &identity.loss(ranges)))
    }

    fn loss(&self, ranges: &[LossRange]) -> weir_events::AgentEvent {
        let profile = ranges
            .first()
            .map(|range| range.profile.to_string())
            .unwrap_or_default();
        let announced = |range: &LossRange| {
            let LossRange {
                profile: _,
                reason,
                base,
                events,
            } = range;
            AnnouncedRange {
                reason: reason.announced(),
                base: *base,
                count: *events,
            }
        };
        let ranges = ranges.iter().map(announced).collect();
        weir_events::AgentEvent::Loss(AgentLoss {
            profile,
            epoch: self.epoch,
            ranges,
        })
    }

    fn encode(&self, slot: AgentSlot<'_>, time: SystemTime, event: &weir_events::AgentEvent) -> AgentMessage {
        let AgentSlot {
            sink,
            subject_prefix,
            encoding,
            seq,
        } = slot;
        let nanos = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let header = AgentHeader {
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            epoch: self.epoch,
            sink: sink.to_owned(),
            seq,
            time_unix_nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
        };
        let sealed = encode_agent_event(encoding, &header, event);
        AgentMessage {
            subject: agent_subject(subject_prefix, event.kind()),
            message_id: message_id(&self.cluster, &self.node, self.epoch, &header.profile(), seq),
            headers: sealed.headers,
            payload: sealed.payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::outcome::LossReason;
    use crate::publish::settings::Encoding;

    #[test]
    fn losses_are_encoded_under_the_sinks_own_series() {
        let identity = Arc::new(AgentIdentity {
            cluster: "c".into(),
            node: "n".into(),
            epoch: 7,
        });
        let range = |reason, base| LossRange {
            profile: "baseline".into(),
            reason,
            base,
            events: 10,
        };
        let ranges = [
            range(LossReason::QueueFull, 0),
            range(LossReason::StreamSealed, 50),
        ];
        let slot = AgentSlot {
            sink: "default",
            subject_prefix: "weir.events",
            encoding: Encoding::Json,
            seq: 3,
        };
        let message = identity.losses()(&ranges, slot);
        assert_eq!(message.subject, "weir.events._agent.agent.loss");
        assert_eq!(message.message_id, "c/n/7/_agent.default/3");
        let json: serde_json::Value = serde_json::from_slice(&message.payload).expect("is JSON");
        let loss = &json[0]["data"]["agentLoss"];
        assert_eq!(loss["profile"], "baseline", "{json}");
        assert_eq!(loss["ranges"].as_array().map(Vec::len), Some(2), "{json}");
    }
}
