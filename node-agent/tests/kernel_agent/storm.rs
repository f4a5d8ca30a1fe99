//! Ten thousand program starts in an open storm: each is received once or counted, and every identity holds.

use std::collections::BTreeMap;

use crate::agent::{Setup, may_test};
use crate::profile::profile;
use crate::server::{Server, stored};
use crate::stream::{Stream, number};
use crate::workload::{Storm, marker, own_copy, start_many};

const STREAM: &str = "STORM";
const THREADS: usize = 4;
const EACH: usize = 2_500;
const STARTS: u64 = 10_000;

/// *Scenario:* 10 000 programs start from four threads while three processes open a file as fast as they can, and
/// that is limited to 2 000 a second.
///
/// *Guarantees:* every start and every end is in the stream once or counted with a reason; opens received and held
/// back add up to what the storm counted itself; cuts in the midst of it close; seq has neither gap nor duplicate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starts_in_an_open_storm_are_received_once_or_counted() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("").await else {
        return;
    };
    let dir = tempfile::tempdir().expect("makes a directory");
    let (program, file) = (own_copy("/bin/true", dir.path()), marker(dir.path(), "file"));
    let binaries = format!("match: {{binaries: {{exact: [{}]}}}}", program.display());
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}, limit: {{eventsPerSecond: 2000}}}}",
        file.display()
    );
    let events = [
        &format!("{{name: execs, kind: process.exec, {binaries}}}"),
        &format!("{{name: exits, kind: process.exit, {binaries}}}"),
        &opens,
    ];
    let text = profile("", &events.map(String::as_str));
    let mut agent = Setup::new(&text)
        .with_sink(&format!("{}?stream={STREAM}", server.url()))
        .start();

    let storm = Storm::start(&file, 3);
    let (pids, cuts) = std::thread::scope(|scope| {
        let starts = scope.spawn(|| start_many(&program, THREADS, EACH));
        let mut cuts = 0_u32;
        while !starts.is_finished() {
            agent.cut();
            cuts += 1;
        }
        (starts.join().expect("no thread panics"), cuts)
    });
    let opened = storm.stop();
    assert!(cuts > 10, "only {cuts} cuts were made in the storm");
    assert_eq!(pids.len() as u64, STARTS);

    let ledger = agent.until_settled();
    let (execs, exits, opens) = (ledger.slot("execs"), ledger.slot("exits"), ledger.slot("opens"));
    assert_eq!(execs.count("matched"), STARTS, "{ledger:?}");
    assert_eq!(exits.count("matched"), STARTS, "{ledger:?}");
    assert_eq!(opens.count("matched"), opened, "{ledger:?}");
    assert!(
        opens.count("limited_event") > 0,
        "the storm was no storm: {ledger:?}"
    );
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");

    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_messages(&stored(&server.jetstream().await, STREAM).await);
    assert_eq!(stream.assert_sequences(), 0, "events are missing");
    for slot in ["execs", "exits", "opens"] {
        assert_eq!(
            stream.named(slot).len() as u64,
            ledger.slot(slot).count("acked"),
            "{slot}"
        );
    }
    // A process id may be used again: it must be seen as often as it was.
    let mut started: BTreeMap<u64, i64> = BTreeMap::new();
    for pid in pids {
        *started.entry(u64::from(pid)).or_default() += 1;
    }
    let lost = STARTS - execs.count("acked");
    for name in ["execs", "exits"] {
        let mut left = started.clone();
        for event in stream.named(name) {
            let count = left
                .get_mut(&event.pid())
                .unwrap_or_else(|| panic!("nobody started {event:?}"));
            *count -= 1;
            assert!(*count >= 0, "received twice: {event:?}");
        }
    }
    eprintln!(
        "{opened} opens, {} received, {lost} starts counted as lost, {cuts} cuts",
        opens.count("acked")
    );
    for exit in stream.named("exits") {
        let payload = &exit.data()["processExit"];
        assert_eq!(payload["exitCode"], 0, "{exit:?}");
        assert!(
            (1..60_000_000_000).contains(&number(&payload["durationNanos"])),
            "{exit:?}"
        );
    }
}

/// *Scenario:* programs start in an open storm without a limit, into the smallest ring there is.
///
/// *Guarantees:* the ring overflows, and each start and open is received once or counted as `ring_full`; cuts close;
/// what the process table missed is counted too.
#[test]
fn starts_into_a_full_ring_are_received_once_or_counted() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let (program, file) = (own_copy("/bin/true", dir.path()), marker(dir.path(), "file"));
    let execs = format!(
        "{{name: execs, kind: process.exec, match: {{binaries: {{exact: [{}]}}}}}}",
        program.display()
    );
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
        file.display()
    );
    let text = profile("", &[&execs, &opens]);
    let mut agent = Setup::new(&text)
        .with(&["--ring-bytes", "65536"])
        .with_file()
        .start();
    let storm = Storm::start(&file, 2);
    let started = start_many(&program, 2, 300).len() as u64;
    agent.cut();
    let opened = storm.stop();
    let ledger = agent.until_settled();
    for (name, truth) in [("execs", started), ("opens", opened)] {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("matched"), truth, "{ledger:?}");
        assert_eq!(
            slot.count("acked") + slot.count("shed") + slot.count("ring_full"),
            truth,
            "{ledger:?}"
        );
    }
    assert!(
        ledger.slot("opens").count("ring_full") > 0,
        "the ring never was full: {ledger:?}"
    );
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.assert_sequences(), ledger.total("shed"));
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
}
