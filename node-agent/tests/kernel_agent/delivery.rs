//! A nats-server that dies in mid-flood, and an agent that is told to end in one.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::agent::{Agent, Setup, may_test, until};
use crate::ledger::Ledger;
use crate::profile::profile;
use crate::server::{Server, stored};
use crate::stream::{Event, Stream, number};
use crate::workload::{Storm, marked, marker};

const STREAM: &str = "FLOOD";

fn start(server: &Server, spec: &str, file: &std::path::Path, more: &str) -> Agent {
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}{more}}}",
        file.display()
    );
    let sink = format!("{}?stream={STREAM}", server.url());
    Setup::new(&profile(spec, &[&opens])).with_sink(&sink).start()
}

fn until_cut(what: &str, agent: &Agent, wanted: impl Fn(&Ledger) -> bool) -> Ledger {
    until(what, || {
        let ledger = agent.cut();
        if wanted(&ledger) {
            Ok(ledger)
        } else {
            Err(format!("{ledger:?}"))
        }
    })
}

async fn read_back(server: &Server) -> Stream {
    Stream::of_messages(&stored(&server.jetstream().await, STREAM).await)
}

/// *Scenario:* nats-server is killed under 3 000 events a second and started again on the same store some thousand
/// events later.
///
/// *Guarantees:* the sink is shown as degraded meanwhile, with code 200; once the server is back everything is acked,
/// and in the stream once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_killed_and_back_in_a_flood_gets_everything_once() {
    if !may_test() {
        return;
    }
    let Some(mut server) = Server::start("").await else {
        return;
    };
    let (_dir, file) = marked();
    let mut agent = start(&server, "", &file, ", limit: {eventsPerSecond: 3000}");
    let storm = Storm::start(&file, 2);
    until_cut("events are acked", &agent, |ledger| ledger.total("acked") > 2_000);
    server.kill();
    until_cut("events wait", &agent, |ledger| {
        ledger.total("queued") + ledger.total("unacked") > 6_000
    });
    let (code, body) = agent.until_ready_says("degraded");
    assert_eq!(code, 200, "{body}");
    server.run().await;
    let before = agent.cut().total("acked");
    until_cut("the flood is acked", &agent, |ledger| {
        ledger.total("acked") > before + 6_000
    });
    let opened = storm.stop();
    let ledger = agent.until_settled();
    assert_eq!(ledger.total("matched"), opened, "{ledger:?}");
    assert_eq!(ledger.total("acked"), ledger.total("accepted"), "{ledger:?}");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = read_back(&server).await;
    assert_eq!(stream.assert_sequences(), 0, "events are missing");
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
}

/// *Scenario:* the same without a limit, until the agent's memory is full.
///
/// *Guarantees:* what is shed is counted, and each gap in the stream is announced by `agent.loss`; the ledger closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_away_until_memory_is_full_leaves_announced_gaps_only() {
    if !may_test() {
        return;
    }
    let Some(mut server) = Server::start("").await else {
        return;
    };
    let (_dir, file) = marked();
    let mut agent = start(&server, "", &file, "");
    let storm = Storm::start(&file, 2);
    until_cut("events are acked", &agent, |ledger| ledger.total("acked") > 1_000);
    server.kill();
    until_cut("events are shed", &agent, |ledger| ledger.total("shed") > 1_000);
    let opened = storm.stop();
    server.run().await;
    let ledger = agent.until_settled();
    assert_eq!(ledger.total("matched"), opened, "{ledger:?}");
    assert_eq!(
        ledger.total("acked") + ledger.total("shed"),
        ledger.total("accepted"),
        "{ledger:?}"
    );
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = read_back(&server).await;
    assert_eq!(
        stream.assert_sequences(),
        ledger.total("shed"),
        "what is missing was shed"
    );
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
}

/// *Scenario:* SIGTERM in a flood that goes on.
///
/// *Guarantees:* the agent ends within five seconds with code 0; its last cut is final and closed, is remembered and
/// published, and names what is in the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_ended_in_a_flood_drains_and_makes_a_final_cut() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("").await else {
        return;
    };
    let (_dir, file) = marked();
    let mut agent = start(&server, "", &file, ", limit: {eventsPerSecond: 5000}");
    let storm = Storm::start(&file, 2);
    until_cut("events are acked", &agent, |ledger| ledger.total("acked") > 5_000);
    let (status, took) = agent.stop();
    let opened = storm.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let text = fs::read_to_string(agent.setup.dir.path().join("state/agent.json")).expect("reads the state");
    let state: Value = serde_json::from_str(&text).expect("is JSON");
    let ledger = Ledger::new(state["ledger"].clone());
    ledger.assert_exact();
    assert!(ledger.is_final(), "{ledger:?}");
    assert!(ledger.total("matched") <= opened, "{ledger:?}");
    assert_eq!(ledger.under_way(), 0, "{ledger:?}");
    let stream = read_back(&server).await;
    assert_eq!(stream.assert_sequences(), ledger.total("shed"));
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
    let published = stream
        .agent
        .iter()
        .filter(|event| event.data()["agentLedger"]["cut"]["final"] == true)
        .count();
    assert_eq!(published, 1, "the final cut is published once");
}

/// *Scenario:* the agent itself is killed in a flood, and started again on the same state directory.
///
/// *Guarantees:* the new life has a later epoch, closes the old one at its last cut and says that what came after is
/// not known; no event is in the stream twice, in either life; the killed one's sequence has no gap that was sent
/// past.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_killed_in_a_flood_is_closed_by_its_next_life() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("").await else {
        return;
    };
    let dir = tempfile::tempdir().expect("makes a directory");
    let (file, state) = (
        marker(dir.path(), "file"),
        dir.path().join("state").display().to_string(),
    );
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}, limit: {{eventsPerSecond: 1000}}}}",
        file.display()
    );
    let start = || {
        let sink = format!("{}?stream={STREAM}", server.url());
        Setup::new(&profile("", &[&opens]))
            .with_sink(&sink)
            .with(&["--state-dir", &state])
            .start()
    };
    let storm = Storm::start(&file, 2);
    let first = start();
    let last_cut = until_cut("events are acked", &first, |ledger| ledger.total("acked") > 1_000);
    let path = dir.path().join("state/agent.json");
    until("the cut is remembered", || {
        let text = fs::read_to_string(&path).expect("reads the state");
        let state: Value = serde_json::from_str(&text).expect("is JSON");
        if state["ledger"]["cut"]["id"].as_u64() >= Some(last_cut.id()) {
            Ok(())
        } else {
            Err(text)
        }
    });
    drop(first);
    let mut second = start();
    until_cut("events are acked again", &second, |ledger| {
        ledger.total("acked") > 1_000
    });
    drop(storm);
    let ledger = second.until_settled();
    assert!(ledger.epoch() > last_cut.epoch());
    let (status, _) = second.stop();
    assert!(status.success(), "{status}");
    let stream = read_back(&server).await;
    stream.assert_sequences();
    let of = |epoch: u64| {
        stream
            .events
            .iter()
            .filter(|event| event.epoch() == epoch)
            .count() as u64
    };
    assert_eq!(of(ledger.epoch()), ledger.total("acked"));
    assert!(
        of(last_cut.epoch()) >= last_cut.total("acked"),
        "acked events are not in the stream"
    );
    let told = |event: &&Event| {
        let cut = &event.data()["agentLedger"]["cut"];
        cut["unknownAfter"] == true && number(&cut["epoch"]) == last_cut.epoch()
    };
    let closing: Vec<&Event> = stream.agent.iter().filter(told).collect();
    assert_eq!(closing.len(), 1, "the old epoch is closed once");
}

/// *Scenario:* the agent ends in order while its sink is away, and is started again with another sink.
///
/// *Guarantees:* the next life tells the final cut of the one before, with all that was lost in it, and claims nothing more
/// to be unknown; the life after that one tells nothing of it any more.
#[test]
fn agent_ended_while_its_sink_is_away_is_told_of_by_its_next_life() {
    let dir = tempfile::tempdir().expect("makes a directory");
    let state = dir.path().join("state").display().to_string();
    let start = |sink: &str| {
        Setup::new(&profile("", &["{name: execs, kind: process.exec}"]))
            .with_sink(sink)
            .with(&["--source", "synthetic:500", "--state-dir", &state, "--grace", "2"])
            .start()
    };
    let mut first = start("nats://127.0.0.1:9?stream=WEIR");
    let lost = until_cut("events wait", &first, |ledger| ledger.total("accepted") > 100);
    assert!(first.stop().0.success());
    for told in [1, 0] {
        let events = dir.path().join(format!("events-{told}"));
        let mut next = start(&format!("file:{}", events.display()));
        until_cut("events are acked", &next, |ledger| ledger.total("acked") > 100);
        assert!(next.stop().0.success());
        let cuts: Vec<Value> = Stream::of_file(&events)
            .agent
            .iter()
            .map(|event| event.data()["agentLedger"].clone())
            .filter(|ledger| number(&ledger["cut"]["epoch"]) == lost.epoch())
            .collect();
        assert_eq!(cuts.len(), told, "{cuts:?}");
        for ledger in cuts {
            assert_eq!(ledger["cut"]["final"], true, "{ledger}");
            assert_eq!(ledger["cut"]["unknownAfter"], Value::Null, "{ledger}");
            let shed = number(&ledger["profiles"][0]["slots"][0]["shed"]);
            assert!(shed >= lost.total("accepted"), "{ledger}");
        }
    }
}
