use super::*;
use crate::publish::outcome::LossReason;
use crate::publish::settings::Target;

fn settings() -> SinkSettings {
    SinkSettings {
        name: "default".into(),
        subject_prefix: "weir.events".into(),
        encoding: Encoding::Json,
        target: Target::Stdout,
    }
}

fn message(kind: &str, slot: AgentSlot<'_>, text: &str) -> AgentMessage {
    AgentMessage {
        subject: format!("{}._agent.{kind}", slot.subject_prefix),
        message_id: format!("_agent/{}/{}", slot.sink, slot.seq),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn buffer() -> AgentBuffer {
    AgentBuffer::new(Arc::new(|ranges, slot| {
        message("agent.loss", slot, &format!("{}", ranges.len()))
    }))
}

fn event(key: &str, text: &'static str) -> AgentEvent {
    AgentEvent {
        key: key.to_owned(),
        encode: Box::new(move |slot| message("agent.ledger", slot, text)),
    }
}

fn loss(base: u64) -> Loss {
    Loss {
        sink: "default".into(),
        profile: "p".into(),
        reason: LossReason::QueueFull,
        base,
        events: 10,
    }
}

fn payload(buffer: &AgentBuffer) -> Option<(u64, String)> {
    let sealed = buffer.next(&settings())?;
    Some((
        sealed.seq,
        String::from_utf8(sealed.message.payload.to_vec()).expect("is text"),
    ))
}

#[test]
fn agent_events_of_one_key_are_replaced_until_sealed() {
    let buffer = buffer();
    buffer.submit(event("ledger", "first"));
    buffer.submit(event("ledger", "second"));
    assert_eq!(payload(&buffer), Some((0, "second".to_owned())));
    buffer.submit(event("ledger", "third"));
    assert_eq!(
        payload(&buffer),
        Some((0, "second".to_owned())),
        "what is sealed is repeated as it is"
    );
    buffer.settle(0);
    assert_eq!(payload(&buffer), Some((1, "third".to_owned())));
    buffer.settle(0);
    assert_eq!(
        payload(&buffer),
        Some((1, "third".to_owned())),
        "an old answer settles nothing"
    );
    buffer.settle(1);
    assert_eq!(payload(&buffer), None);
    assert_eq!(buffer.waiting(), 0);
}

#[test]
fn agent_losses_are_coalesced_and_go_first() {
    let buffer = buffer();
    buffer.submit(event("ledger", "ledger"));
    buffer.lost(&loss(0));
    buffer.lost(&loss(10));
    buffer.lost(&loss(100));
    assert_eq!(buffer.waiting(), 3);
    assert_eq!(payload(&buffer), Some((0, "2".to_owned())));
    buffer.lost(&loss(110));
    buffer.settle(0);
    assert_eq!(
        payload(&buffer),
        Some((1, "1".to_owned())),
        "what came later is announced later"
    );
    buffer.settle(1);
    assert_eq!(payload(&buffer), Some((2, "ledger".to_owned())));
}

#[test]
fn agent_losses_of_two_profiles_are_two_messages() {
    let buffer = buffer();
    buffer.lost(&loss(0));
    buffer.lost(&Loss {
        profile: "q".into(),
        ..loss(0)
    });
    buffer.lost(&Loss {
        reason: LossReason::Shutdown,
        ..loss(50)
    });
    assert_eq!(
        payload(&buffer),
        Some((0, "2".to_owned())),
        "both reasons of the first profile"
    );
    buffer.settle(0);
    assert_eq!(payload(&buffer), Some((1, "1".to_owned())));
}

/// *Scenario:* a sealed event and a sealed loss wait when the sink's subjects are changed.
/// *Guarantees:* they are written anew for the new subject under their `seq`; otherwise the same bytes are sent again.
#[test]
fn sealed_message_follows_the_sinks_subject() {
    let buffer = buffer();
    let mended = SinkSettings {
        subject_prefix: "acme".into(),
        ..settings()
    };
    buffer.submit(event("ledger", "first"));
    let before = buffer.next(&settings()).expect("is sealed");
    assert_eq!(before.message.subject, "weir.events._agent.agent.ledger");
    let again = buffer.next(&settings()).expect("waits");
    assert!(Arc::ptr_eq(&before.message, &again.message));
    let moved = buffer.next(&mended).expect("waits");
    assert_eq!(
        (moved.seq, moved.message.subject.as_str()),
        (before.seq, "acme._agent.agent.ledger")
    );
    assert_eq!(moved.message.payload, before.message.payload);
    buffer.settle(moved.seq);

    buffer.lost(&loss(0));
    let before = buffer.next(&mended).expect("is sealed");
    let back = buffer.next(&settings()).expect("waits");
    assert_eq!(
        (back.seq, back.message.subject.as_str()),
        (before.seq, "weir.events._agent.agent.loss")
    );
    buffer.settle(back.seq);
    assert_eq!(buffer.waiting(), 0);
}
