//! `docs/telemetry.md` and what a running agent shows must agree, both ways.
//!
//! Real agents with generated events write to sinks that answer in every way there is; what they show is put together
//! and compared with the tables. That the numbers are right is proven elsewhere.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]
#![expect(
    unreachable_pub,
    reason = "the helper modules of a test have no public interface"
)]

#[path = "telemetry_doc/agent.rs"]
mod agent;
#[path = "telemetry_doc/nats.rs"]
mod nats;
#[path = "telemetry_doc/page.rs"]
mod page;
#[path = "telemetry_doc/scrape.rs"]
mod scrape;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use weir_node_agent::bpf::hook::HOOKS;
use weir_profile::EventKind;

use crate::agent::Agent;
use crate::nats::Server;
use crate::page::Page;
use crate::scrape::Scrape;

/// Fills the bounds of a sink that takes nothing within seconds.
const FLOOD: u32 = 100_000;
/// Few enough that an answer comes before the next batch.
const TRICKLE: u32 = 20;
/// Enough to fill a pipe at once: whoever closes it, ends the write of a batch and not of an agent event.
const STREAM: u32 = 1_000;

fn page() -> Page {
    Page::read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/telemetry.md"))
}

/// What agents show whose sinks, taken together, do everything that a sink can do.
fn shown() -> Scrape {
    let server = Server::start();
    let nats = Agent::start(
        "nats",
        &format!("nats://{}?stream=T&manage=external", server.address()),
        TRICKLE,
    );
    let mut shown = Scrape::default();
    let publish = "weir_agent_publish_batches_total";
    let good = Agent::start("good", "file:good.json", TRICKLE);
    shown.merge(good.until(|scrape| scrape.has(publish, "outcome", "acked") && scrape.is_about("profile")));
    let full = Agent::start("full", "file:/dev/full", FLOOD);
    shown.merge(full.until(|scrape| scrape.has(publish, "outcome", "shed")));
    drop(full);
    let mut standard = Agent::start("standard", "stdout", STREAM);
    shown.merge(standard.until(|scrape| scrape.has(publish, "outcome", "acked")));
    standard.close_output();
    shown.merge(standard.until(|scrape| scrape.has("weir_agent_publish_retries_total", "reason", "write")));
    shown.merge(nats.until(|scrape| {
        let answers = ["acked", "duplicate", "rejected"];
        let retries = ["timeout", "refused", "disconnect"];
        answers
            .iter()
            .all(|answer| scrape.has(publish, "outcome", answer))
            && retries
                .iter()
                .all(|reason| scrape.has("weir_agent_publish_retries_total", "reason", reason))
    }));
    shown
}

/// Scenario: four agents write to a file, a full disk, a reader that goes away, and a NATS server that acks, repeats,
/// refuses, stays silent and hangs up.
/// Guarantees: names, types, labels and values of all metrics are those of the page, and the page has no other.
#[test]
fn metrics_shown_are_those_of_the_page() {
    let (page, shown) = (page(), shown());
    let documented: BTreeMap<String, (String, BTreeSet<String>)> = page.metrics("weir_agent_");
    assert_eq!(documented, shown.metrics(), "left: the page, right: the agent");
    assert_eq!(
        page.labels("weir_").len(),
        page.label_rows(),
        "a label that no metric has"
    );
    for row in page.labels("weir_agent_") {
        let values = shown.values(&row.label, &row.metrics);
        match row.label.as_str() {
            // Which hooks there are is the kernel's business; here a generator stands for them.
            "hook" => {
                let hooks = HOOKS.iter().map(|hook| hook.name().to_owned());
                let all: BTreeSet<String> = hooks.chain(["synthetic".to_owned()]).collect();
                assert_eq!(row.values, all, "hooks; left: the page");
                assert!(values.is_subset(&all), "{values:?}");
            }
            "kind" => {
                let all: BTreeSet<String> = EventKind::ALL
                    .iter()
                    .map(|kind| kind.as_str().to_owned())
                    .collect();
                assert_eq!(row.values, all, "kinds; left: the page");
                assert!(values.is_subset(&all), "{values:?}");
            }
            "profile" | "event" | "version" => {
                assert!(
                    row.values.is_empty(),
                    "{}: names of the user are no closed set",
                    row.label
                );
                assert!(!values.is_empty(), "{}: never shown", row.label);
            }
            _ => assert_eq!(
                row.values, values,
                "{} of {:?}; left: the page",
                row.label, row.metrics
            ),
        }
    }
    let labels: BTreeSet<(String, String)> = shown.labels().collect();
    assert_eq!(
        page.label_uses("weir_agent_"),
        labels,
        "left: the page, right: the agent"
    );
}

/// Scenario: an agent is asked for its ledger, its health and its log.
/// Guarantees: the fields of the page are those of the answers.
#[test]
fn ledger_health_and_log_have_the_fields_of_the_page() {
    let page = page();
    let agent = Agent::start("fields", "file:fields.json", TRICKLE);
    agent.until(|scrape| scrape.is_about("profile"));
    let ledger: Value = serde_json::from_str(&agent.get("/ledger").1).expect("the ledger is JSON");
    let same = |title: &str, value: &Value| {
        let names: BTreeSet<String> = value
            .as_object()
            .expect("an object")
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        let (always, optional) = page.fields(title);
        assert!(
            always.is_subset(&names),
            "{title}: the page has {always:?}, the agent {names:?}"
        );
        let known: BTreeSet<String> = always.union(&optional).cloned().collect();
        assert!(
            names.is_subset(&known),
            "{title}: the agent has {names:?}, the page {known:?}"
        );
    };
    same("field of the answer", &ledger);
    same("field of `cut`", &ledger["cut"]);
    same("field of `hooks`", &ledger["hooks"][0]);
    same("field of `profiles`", &ledger["profiles"][0]);
    same("field of `slots`", &ledger["profiles"][0]["slots"][0]);

    let (code, cut) = agent.get("/ledger?cut=now");
    assert!(code == 200 && cut.contains("\"closed\":true"), "{cut}");
    assert_eq!(agent.get("/livez"), (200, "ok\n".to_owned()));
    let (code, ready) = agent.get("/readyz");
    assert_eq!(code, 200, "{ready}");
    assert!(
        ready.contains("[+] configuration: ok\n") && ready.ends_with("ready\n"),
        "{ready}"
    );
    assert_eq!(agent.get("/ledger?cut=then").0, 400);

    let (fields, _) = page.fields("field");
    let log = agent.log();
    assert!(!log.is_empty());
    for line in log {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for field in &fields {
            assert!(line[field].is_string(), "{field} in {line}");
        }
    }
}
