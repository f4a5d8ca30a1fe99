//! The agent's own events, against what the schema's generated types make of them.

use serde_json::json;
use weir_events::decode::unified_event::Payload;
use weir_events::decode::{self, UnifiedEvent};
use weir_events::{AgentEvent, Encoding, Kind, encode_agent_event, message_id};

use crate::{read, sample};

/// Both encodings of the sample of `kind`, which must agree.
fn read_both(kind: Kind) -> UnifiedEvent {
    let event = sample::agent_event(kind).unwrap();
    let header = sample::agent_header();
    let from_protobuf = read::protobuf(&encode_agent_event(Encoding::Protobuf, &header, &event).payload);
    let from_json = read::json(&encode_agent_event(Encoding::Json, &header, &event).payload);
    assert_eq!(from_json.len(), 1);
    assert_eq!(from_json[0].id, format!("{}/_agent.default/42", sample::EPOCH));
    assert_eq!(from_json[0].event_type, kind.cloud_event_type());
    assert_eq!(vec![from_json[0].data.clone()], from_protobuf);
    from_json[0].data.clone()
}

#[test]
fn ledger_on_the_stream_holds_every_number_of_the_ledger_page() {
    let event = read_both(Kind::AgentLedger);
    let Some(Payload::AgentLedger(ledger)) = event.payload else {
        panic!("{:?}", event.payload)
    };
    let page = serde_json::to_value(sample::ledger()).unwrap();
    assert_eq!(ledger.boot_id, page["boot_id"]);
    let cut = ledger.cut.unwrap();
    assert_eq!(
        json!([cut.id, cut.closed, cut.r#final, cut.unknown_after]),
        json!([17, true, true, true])
    );
    assert_eq!(cut.epoch, sample::EPOCH);
    assert_eq!(page["cut"]["time"], "2026-01-02T03:04:05.678901229Z");
    assert_eq!(cut.time.unwrap().nanos, 678_901_229);

    let hook = &ledger.hooks[0];
    let missed: Vec<_> = ledger.hooks.iter().map(|hook| hook.missed).collect();
    assert_eq!(
        missed,
        [Some(1), Some(0), None],
        "a 0 is told from what is not known"
    );
    assert_eq!(page["hooks"][1]["missed"], 0);
    assert_eq!(page["hooks"][2].get("missed"), None);
    assert_eq!(
        page["hooks"][0],
        json!({"hook": hook.hook, "missed": hook.missed, "excluded": hook.excluded, "hook_error": hook.hook_error,
               "untracked": hook.untracked, "hook_error_reasons": hook.hook_error_reasons.iter()
                   .map(|error| (error.reason.clone(), json!(error.count))).collect::<serde_json::Map<_, _>>()})
    );
    for (slot, page) in ledger.profiles[0]
        .slots
        .iter()
        .zip(page["profiles"][0]["slots"].as_array().unwrap())
    {
        assert_eq!(*page, slot_page(slot));
    }
    assert_eq!(ledger.profiles[0].slots.len(), 2);
}

/// A slot read from the stream, in the ledger page's words.
fn slot_page(slot: &decode::LedgerSlot) -> serde_json::Value {
    let camel = serde_json::to_value(slot).unwrap();
    let mut page = serde_json::Map::new();
    let names = serde_json::to_value(weir_events::agent::LedgerSlot::default()).unwrap();
    for (name, default) in names.as_object().unwrap() {
        let mut upper = false;
        let key: String = name
            .chars()
            .filter_map(|c| {
                let result = (c != '_').then(|| if upper { c.to_ascii_uppercase() } else { c });
                upper = c == '_';
                result
            })
            .collect();
        let value = match camel.get(&key).and_then(serde_json::Value::as_str) {
            Some(text) if default.is_number() => json!(text.parse::<u64>().unwrap()),
            Some(text) => json!(text),
            None => default.clone(),
        };
        page.insert(name.clone(), value);
    }
    page.into()
}

#[test]
fn ledger_page_has_the_documented_keys_and_is_read_back() {
    let page = serde_json::to_value(sample::ledger()).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&page),
        ["boot_id", "cluster", "cut", "epoch", "hooks", "node", "profiles"]
    );
    assert_eq!(
        keys(&page["profiles"][0]),
        ["digest", "generation", "name", "slots"]
    );
    for key in ["id", "time", "closed"] {
        assert!(page["cut"].get(key).is_some(), "{key}");
    }
    assert_eq!(keys(&page["profiles"][0]["slots"][0]).len(), 25);
    assert_eq!(
        serde_json::from_value::<weir_events::agent::AgentLedger>(page).unwrap(),
        sample::ledger()
    );
}

#[test]
fn loss_on_the_stream_names_the_profile_and_the_ranges() {
    let Some(Payload::AgentLoss(loss)) = read_both(Kind::AgentLoss).payload else {
        panic!("no loss")
    };
    let range = |reason: &str, base, count| decode::LossRange {
        reason: reason.to_owned(),
        base,
        count,
    };
    let ranges = vec![range("queue_full", 1000, 512), range("rejected", 2000, 1)];
    assert_eq!(
        loss,
        decode::AgentLoss {
            profile: "baseline".to_owned(),
            epoch: sample::EPOCH,
            ranges
        }
    );
}

#[test]
fn profile_on_the_stream_holds_every_field() {
    let Some(AgentEvent::Profile(sample)) = sample::agent_event(Kind::AgentProfile) else {
        panic!("no sample")
    };
    let Some(Payload::AgentProfile(read)) = read_both(Kind::AgentProfile).payload else {
        panic!("no profile")
    };
    let expected = decode::AgentProfile {
        profile: sample.profile,
        uid: sample.uid,
        generation: sample.generation,
        digest: sample.digest,
        state: "degraded".to_owned(),
        reason: sample.reason,
        message: sample.message,
        sink: sample.sink,
        next_seq: sample.next_seq,
    };
    assert_eq!(read, expected);
}

#[test]
fn health_on_the_stream_holds_every_field() {
    let Some(AgentEvent::Health(sample)) = sample::agent_event(Kind::AgentHealth) else {
        panic!("no sample")
    };
    let Some(Payload::AgentHealth(read)) = read_both(Kind::AgentHealth).payload else {
        panic!("no health")
    };
    let expected = decode::AgentHealth {
        state: "degraded".to_owned(),
        component: sample.component,
        reason: sample.reason,
        message: sample.message,
        agent_version: sample.agent_version,
        kernel_release: sample.kernel_release,
    };
    assert_eq!(read, expected);
}

#[test]
fn protobuf_headers_of_an_agent_event_match_its_message_id() {
    let header = sample::agent_header();
    let event = sample::agent_event(Kind::AgentHealth).unwrap();
    let sealed = encode_agent_event(Encoding::Protobuf, &header, &event);
    let id = sealed
        .headers
        .iter()
        .find(|(name, _)| *name == "ce-id")
        .map(|(_, id)| id.as_str());
    assert_eq!(id, Some("1767300000000/_agent.default/42"));
    assert_eq!(
        message_id(
            &header.cluster,
            &header.node,
            header.epoch,
            &header.profile(),
            header.seq
        ),
        "prod/node-1.example/1767300000000/_agent.default/42"
    );
}
