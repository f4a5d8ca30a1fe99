//! Limits, samples and dry runs, held to the workload's own count.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Setup, may_test, until};
use crate::ledger::Ledger;
use crate::profile::profile;
use crate::stream::{Event, Stream, number};
use crate::workload::{Storm, marked, marker, own_copy, perl, perl_says, start_many};

/// In every window of W seconds at most rate x W + burst events. Times are off by their error at most.
pub fn assert_within(events: &[&Event], rate: u32, burst: u32) {
    let mut times: Vec<i128> = events.iter().map(|event| event.time_ns()).collect();
    times.sort_unstable();
    let errors = events
        .iter()
        .map(|event| number(&event.data()["timeErrorNanos"]))
        .max()
        .unwrap_or(0);
    // From event i to event j there are j - i + 1, in their time: what each adds to its rate is compared with the least
    // of all before it.
    let (rate, scale) = (i128::from(rate), 1_000_000_000);
    let mut least: Option<(i128, i128)> = None;
    for (number, time) in (0_i128..).zip(times) {
        let ahead = number * scale - rate * time;
        let (from, begin) = *least.insert(least.map_or((ahead, time), |old| old.min((ahead, time))));
        let bound = rate * 2 * i128::from(errors) + (i128::from(burst) - 1) * scale;
        let window_ns = time - begin;
        assert!(
            ahead - from <= bound,
            "event {number} is too much for the {window_ns} ns before it, at {rate}/s and {burst}"
        );
    }
}

/// Waits until so many were acked under a storm, and returns how long that took.
fn saturate(agent: &Agent, acked: u64) -> Duration {
    let begun = Instant::now();
    until("enough events are acked", || {
        let ledger = agent.cut();
        if ledger.total("acked") >= acked {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    begun.elapsed()
}

/// A saturated bucket passes 0.98 of its rate.
pub fn assert_saturated(received: usize, rate: f64, time: Duration) {
    let least = 0.98 * rate * time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let received = received as f64;
    assert!(received >= least, "{received} of at least {least} in {time:?}");
}

fn opens_of(name: &str, path: &Path, more: &str) -> String {
    format!(
        "{{name: {name}, kind: file.open, match: {{paths: {{exact: [{}]}}}}{more}}}",
        path.display()
    )
}

/// Stops the agent and reads its file.
fn read_back(agent: &mut Agent, ledger: &Ledger) -> Stream {
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.assert_sequences(), 0, "events are missing");
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
    stream
}

/// *Scenario:* both CPUs open a file as fast as they can, at a limit of 500 a second and its default burst of 50.
///
/// *Guarantees:* EVENT-PATH's formula holds in every window, a saturated bucket passes 0.98 of its rate, and what was
/// received and held back is what the storm counted.
#[test]
fn event_limit_in_a_storm_on_both_cpus_keeps_its_rate_and_counts_the_rest() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let text = profile(
        "",
        &[&opens_of("opens", &file, ", limit: {eventsPerSecond: 500}")],
    );
    let mut agent = Setup::new(&text).with_file().start();
    let storm = Storm::start(&file, 2);
    let time = saturate(&agent, 2_000);
    let opened = storm.stop();
    let ledger = agent.until_settled();
    let opens = ledger.slot("opens");
    assert_eq!(opens.count("matched"), opened, "{ledger:?}");
    assert_eq!(
        opens.count("acked") + opens.count("limited_event"),
        opened,
        "{ledger:?}"
    );
    let stream = read_back(&mut agent, &ledger);
    let events = stream.named("opens");
    assert_within(&events, 500, 50);
    assert_saturated(events.len(), 500.0, time);
}

/// *Scenario:* programs start faster than a limit of 100 a second with a burst of 7 takes them.
///
/// *Guarantees:* as for opens; what was held back is counted to the last start.
#[test]
fn event_limit_on_program_starts_counts_every_start_it_holds_back() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let program = own_copy("/bin/true", dir.path());
    let execs = format!(
        "{{name: execs, kind: process.exec, match: {{binaries: {{exact: [{}]}}}}, limit: {{eventsPerSecond: 100, burst: 7}}}}",
        program.display()
    );
    let mut agent = Setup::new(&profile("", &[&execs])).with_file().start();
    let begun = Instant::now();
    let started = start_many(&program, 3, 400).len() as u64;
    let time = begun.elapsed();
    let ledger = agent.until_settled();
    let execs = ledger.slot("execs");
    assert_eq!(execs.count("matched"), started, "{ledger:?}");
    assert!(
        execs.count("limited_event") > 0,
        "nothing was held back: {ledger:?}"
    );
    assert_eq!(
        execs.count("acked") + execs.count("limited_event"),
        started,
        "{ledger:?}"
    );
    let stream = read_back(&mut agent, &ledger);
    assert_within(&stream.named("execs"), 100, 7);
    // The last start may have been some time before the last end.
    assert_saturated(
        stream.events.len(),
        100.0,
        time.saturating_sub(Duration::from_millis(100)),
    );
}

/// *Scenario:* a profile's limit of 300 a second is below the 1 000 and the no limit of its two events, both in a
/// storm.
///
/// *Guarantees:* the events together keep the profile's limit in every window; what the profile's limit refuses costs
/// the event's own bucket nothing.
#[test]
fn profile_limit_below_its_events_bounds_their_sum_and_gives_back_what_it_refuses() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let events = [one, two].map(|dir| {
        std::fs::create_dir(&dir).expect("makes a directory");
        marker(&dir, "file")
    });
    let text = profile(
        "limits: {eventsPerSecond: 300, burst: 30}",
        &[
            &opens_of("one", &events[0], ", limit: {eventsPerSecond: 1000}"),
            &opens_of("two", &events[1], ""),
        ],
    );
    let mut agent = Setup::new(&text).with_file().start();
    let storms = [Storm::start(&events[0], 1), Storm::start(&events[1], 1)];
    let time = saturate(&agent, 900);
    let opened = storms.map(Storm::stop);
    let ledger = agent.until_settled();
    for (name, opened) in ["one", "two"].into_iter().zip(opened) {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("matched"), opened, "{ledger:?}");
        assert_eq!(
            slot.count("acked") + slot.count("limited_profile"),
            opened,
            "{ledger:?}"
        );
        assert_eq!(
            slot.count("limited_event"),
            0,
            "the profile's refusals were charged to the event: {ledger:?}"
        );
    }
    let stream = read_back(&mut agent, &ledger);
    let all: Vec<&Event> = stream.events.iter().collect();
    assert_within(&all, 300, 30);
    assert_saturated(all.len(), 300.0, time);
}

/// *Scenario:* each workload may have 200 events a second; the host's processes, which are one workload, open files
/// of two events in a storm.
///
/// *Guarantees:* the two events together keep the workload's limit; the rest is counted as held back by it.
#[test]
fn workload_limit_bounds_the_host_as_one_workload() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let text = profile(
        "limits: {perWorkload: {max: 200, burst: 20}}",
        &[&opens_of("one", &file, ""), &opens_of("two", &file, "")],
    );
    let mut agent = Setup::new(&text).with_file().start();
    let storm = Storm::start(&file, 2);
    let time = saturate(&agent, 500);
    let opened = storm.stop();
    let ledger = agent.until_settled();
    for name in ["one", "two"] {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("matched"), opened, "{ledger:?}");
        assert_eq!(
            slot.count("acked") + slot.count("limited_workload"),
            opened,
            "{ledger:?}"
        );
    }
    let stream = read_back(&mut agent, &ledger);
    let all: Vec<&Event> = stream.events.iter().collect();
    assert_within(&all, 200, 20);
    assert_saturated(all.len(), 200.0, time);
}

/// *Scenario:* a profile in mode `DryRun` with a free and a limited event.
///
/// *Guarantees:* nothing is emitted; every open is counted, as `dry_run` or as held back by the limit that would hold.
#[test]
fn dry_run_counts_everything_and_emits_nothing() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let text = profile(
        "mode: DryRun",
        &[
            &opens_of("free", &file, ""),
            &opens_of("held", &file, ", limit: {eventsPerSecond: 1, burst: 3}"),
        ],
    );
    let mut agent = Setup::new(&text).with_file().start();
    perl_says(
        "for (1..5000) { sysopen(my $f, $ARGV[0], 0) or die }",
        &[&file.display().to_string()],
    );
    let ledger = agent.until_settled();
    assert_eq!(ledger.slot("free").count("dry_run"), 5_000, "{ledger:?}");
    let held = ledger.slot("held");
    assert_eq!(
        held.count("dry_run") + held.count("limited_event"),
        5_000,
        "{ledger:?}"
    );
    assert!((3..100).contains(&held.count("dry_run")), "{ledger:?}");
    assert_eq!(ledger.total("ringed"), 0, "{ledger:?}");
    assert!(read_back(&mut agent, &ledger).events.is_empty());
}

/// *Scenario:* 20 000 opens, one in ten kept; 300 processes with three opens each, one process in three kept.
///
/// *Guarantees:* the first keeps a tenth within six standard deviations; the second keeps all of a process or
/// nothing, and a third of the processes; each event carries its weight; what is left out is counted.
#[test]
fn samples_keep_their_share_and_whole_processes() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let (each, whole) = (marker(dir.path(), "each"), marker(dir.path(), "whole"));
    let text = profile(
        "",
        &[
            &opens_of("each", &each, ", sample: {oneIn: 10}"),
            &opens_of("whole", &whole, ", sample: {oneIn: 3, by: Process}"),
        ],
    );
    let mut agent = Setup::new(&text).with_file().start();
    perl_says(
        "for (1..20000) { sysopen(my $f, $ARGV[0], 0) or die }",
        &[&each.display().to_string()],
    );
    for _ in 0..300 {
        let status = perl("for (1..3) { sysopen(my $f, $ARGV[0], 0) or die }")
            .arg(&whole)
            .status()
            .expect("starts");
        assert!(status.success());
    }
    let ledger = agent.until_settled();
    assert_eq!(ledger.slot("each").count("matched"), 20_000, "{ledger:?}");
    assert_eq!(ledger.slot("whole").count("matched"), 900, "{ledger:?}");
    for name in ["each", "whole"] {
        let slot = ledger.slot(name);
        assert_eq!(
            slot.count("acked") + slot.count("sampled_out"),
            slot.count("matched"),
            "{ledger:?}"
        );
    }
    let stream = read_back(&mut agent, &ledger);
    let kept = stream.named("each");
    // 2 000 and six times sqrt(20 000 x 0.1 x 0.9).
    assert!((1_745..=2_255).contains(&kept.len()), "{} of 20000", kept.len());
    assert!(
        kept.iter().all(|event| event.data()["samplingWeight"] == 10),
        "a weight is not 10"
    );
    let mut processes: BTreeMap<(u64, i128), u32> = BTreeMap::new();
    for event in stream.named("whole") {
        assert_eq!(event.data()["samplingWeight"], 3, "{event:?}");
        *processes
            .entry((event.pid(), event.process_start_ns() / 1_000_000))
            .or_default() += 1;
    }
    assert!(
        processes.values().all(|opens| *opens == 3),
        "a process was torn: {processes:?}"
    );
    // 100 and six times sqrt(300 x 1/3 x 2/3).
    assert!(
        (51..=149).contains(&processes.len()),
        "{} of 300 processes",
        processes.len()
    );
}
