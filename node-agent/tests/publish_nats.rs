//! Publishing to a real nats-server: what is acked is in the stream once, and what is not acked is counted.

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]
#![expect(
    unreachable_pub,
    reason = "the helper modules of a test have no public interface"
)]

#[path = "support/book.rs"]
mod book;
#[path = "support/rig.rs"]
mod rig;
#[path = "support/server.rs"]
mod server;
#[path = "support/wait.rs"]
mod wait;

#[path = "publish_nats/credentials.rs"]
mod credentials;
#[path = "publish_nats/delivery.rs"]
mod delivery;
#[path = "publish_nats/ensure.rs"]
mod ensure;
#[path = "publish_nats/refusal.rs"]
mod refusal;
#[path = "publish_nats/shed.rs"]
mod shed;

use std::collections::BTreeSet;
use std::time::Duration;

use weir_node_agent::publish::Target;
use weir_node_agent::publish::settings::NatsSettings;
use weir_profile::api::Storage;
use weir_runtime::stream::StreamSettings;

use crate::rig::{EVENTS, PREFIX, STREAM};

const GRACE: Duration = Duration::from_secs(10);
const SUBJECTS: &[&str] = &["weir.events.>"];

fn nats_target(settings: NatsSettings) -> Target {
    Target::Nats(Box::new(settings))
}

fn events(batches: usize) -> u64 {
    u64::try_from(batches).expect("is small") * u64::from(EVENTS)
}

fn ids(messages: &[server::Stored]) -> Vec<&str> {
    messages
        .iter()
        .filter(|message| !message.subject.contains("_agent"))
        .map(|message| message.id.as_str())
        .collect()
}

/// Each pushed id is stored, and stored once.
fn assert_once_each(messages: &[server::Stored], pushed: &BTreeSet<String>) {
    let ids = ids(messages);
    let distinct: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(ids.len(), distinct.len(), "the stream holds duplicates");
    assert_eq!(&distinct, pushed);
}

fn wanted_stream() -> StreamSettings {
    StreamSettings {
        name: STREAM.to_owned(),
        subjects: vec![format!("{PREFIX}.>")],
        replicas: 1,
        storage: Storage::File,
        max_bytes: Some(64 * 1024 * 1024),
        max_age: Some(Duration::from_hours(1)),
        duplicate_window: Duration::from_mins(2),
    }
}
