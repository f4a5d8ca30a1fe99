//! A consumer: reads a message in every way there is, and insists that all of them agree.

use serde_json::Value;
use weir_events::decode::{CloudEvent, UnifiedEvent, decode_json, decode_protobuf};
use weir_events::{BatchBuilder, BatchHeader, Encoding, EventView, Payloads, Sealed};

/// Seals `views` as a batch from `base` on.
pub(crate) fn seal(encoding: Encoding, header: &BatchHeader, base: u64, views: &[EventView<'_>]) -> Sealed {
    let mut builder = BatchBuilder::new(encoding, header.clone());
    for view in views {
        builder.push(view);
    }
    let bound = builder.len_bytes();
    let sealed = builder.seal(base, &mut Payloads::default());
    assert!(
        sealed.payload.len() <= bound,
        "{} bytes of at most {bound}",
        sealed.payload.len()
    );
    assert!(
        bound - sealed.payload.len() < 100,
        "{} bytes are far below {bound}",
        sealed.payload.len()
    );
    sealed
}

/// Reads a protobuf message, and insists that it is minimal: prost writes it again in as many bytes.
pub(crate) fn protobuf(payload: &[u8]) -> Vec<UnifiedEvent> {
    let batch: weir_events::decode::EventBatch = prost::Message::decode(payload).unwrap();
    assert_eq!(
        prost::Message::encoded_len(&batch),
        payload.len(),
        "not minimal, or with fields that are not in the schema"
    );
    decode_protobuf(payload).unwrap()
}

/// Reads a JSON message, and insists that each `data` is what pbjson writes of the event it reads.
pub(crate) fn json(payload: &[u8]) -> Vec<CloudEvent> {
    let events = decode_json(payload).unwrap();
    let raw: Vec<Value> = serde_json::from_slice(payload).unwrap();
    for (event, raw) in events.iter().zip(&raw) {
        assert_canonical(&raw["data"], &serde_json::to_value(&event.data).unwrap(), "data");
    }
    events
}

/// Asserts that both are the same JSON, but for the number of digits in times.
fn assert_canonical(ours: &Value, canonical: &Value, path: &str) {
    match (ours, canonical) {
        (Value::Object(ours), Value::Object(canonical)) => {
            let keys = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(ours), keys(canonical), "keys of {path}");
            for (key, value) in ours {
                assert_canonical(value, &canonical[key], &format!("{path}.{key}"));
            }
        }
        (Value::Array(ours), Value::Array(canonical)) => {
            assert_eq!(ours.len(), canonical.len(), "items of {path}");
            for (place, (value, canonical)) in ours.iter().zip(canonical).enumerate() {
                assert_canonical(value, canonical, &format!("{path}[{place}]"));
            }
        }
        (Value::String(ours), Value::String(canonical)) if ours != canonical => {
            let time = |text: &str| {
                text.parse::<jiff::Timestamp>()
                    .unwrap_or_else(|_| panic!("{path}: {text}"))
            };
            assert_eq!(time(ours), time(canonical), "{path}");
        }
        _ => assert_eq!(ours, canonical, "{path}"),
    }
}

/// Asserts that both encodings of `views` are read as the same events, and as what the views say.
pub(crate) fn assert_read_back(header: &BatchHeader, base: u64, views: &[EventView<'_>]) {
    let expected: Vec<UnifiedEvent> = (base..)
        .zip(views)
        .map(|(seq, view)| UnifiedEvent::from_view(header, seq, view))
        .collect();

    let sealed = seal(Encoding::Protobuf, header, base, views);
    assert_eq!(sealed.events as usize, views.len());
    assert_eq!(protobuf(&sealed.payload), expected);

    let sealed = seal(Encoding::Json, header, base, views);
    assert_eq!(sealed.events as usize, views.len());
    let events = json(&sealed.payload);
    assert_eq!(events.len(), expected.len());
    for ((seq, event), expected) in (base..).zip(events).zip(expected) {
        assert_eq!(event.specversion, "1.0");
        assert_eq!(event.source, weir_events::source(&header.cluster, &header.node));
        assert!(
            event.id.starts_with(&format!("{}/", header.epoch)),
            "{}",
            event.id
        );
        assert!(
            event.id.ends_with(&format!("/{seq}")),
            "{} is not of {seq}",
            event.id
        );
        assert_eq!(event.event_type, format!("dev.weir.{}.v1", expected.kind));
        let time: jiff::Timestamp = event.time.parse().unwrap();
        let nanos = expected
            .time
            .as_ref()
            .map(|time| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos));
        assert_eq!(Some(time.as_nanosecond()), nanos);
        assert_eq!(event.data, expected);
    }
}
