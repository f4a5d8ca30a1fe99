//! Edits of the profile file while events flow.

use std::fs;
use std::path::Path;
use std::time::Instant;

use rustix::process::Signal;

use super::limit::{assert_saturated, assert_within};
use crate::agent::{Agent, Setup, may_test, until};
use crate::ledger::Ledger;
use crate::mount::Mount;
use crate::profile::profile;
use crate::stream::{Event, Stream};
use crate::workload::{Storm, marked, marker};

const EDITS: u64 = 50;
/// What the event that no edit touches may pass.
const RATE: u32 = 400;
/// A tenth of the rate, as when it is not given.
const BURST: u32 = 40;

/// The profile of a generation: odd ones take what is below `odd/`, even ones what is below `even/`. A third event
/// takes both and is never edited.
fn generation(dir: &Path, number: u64) -> String {
    let below = dir.join(side(number));
    let dir = dir.display();
    profile(
        "",
        &[
            &format!(
                "{{name: one, kind: file.open, match: {{paths: {{prefix: [{}/]}}}}, limit: {{eventsPerSecond: 2000}}}}",
                below.display()
            ),
            &format!(
                "{{name: both, kind: file.open, match: {{paths: {{exact: [{dir}/odd/file, {dir}/even/file]}}}}, limit: {{eventsPerSecond: {RATE}}}}}"
            ),
        ],
    )
}

const fn side(generation: u64) -> &'static str {
    if generation % 2 == 1 { "odd" } else { "even" }
}

fn replace(agent: &Agent, text: &str) {
    let path = agent.setup.profile();
    let next = path.with_extension("next");
    fs::write(&next, text).expect("writes");
    fs::rename(next, path).expect("renames");
}

/// *Scenario:* both sides' files are opened some thousand times a second while the profile is edited fifty times, by renaming over it
/// and by writing in place, with bad edits in between; a cut is made after each edit.
///
/// *Guarantees:* the event that no edit touches counts every open of the storm and keeps its limit in every window;
/// every event was admitted by the generation it names; a generation never comes back; no `seq` is twice or missing;
/// every cut closes; a bad edit keeps the last good profile and is shown.
#[test]
fn edits_under_load_neither_lose_nor_repeat_nor_admit_what_they_should_not() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let files = ["odd", "even"].map(|side| {
        let below = dir.path().join(side);
        fs::create_dir(&below).expect("makes a directory");
        marker(&below, "file")
    });
    let mut agent = Setup::new(&generation(dir.path(), 1)).with_file().start();
    let storms = files.each_ref().map(|file| Storm::steady(file, 1));
    for number in 2..=EDITS + 1 {
        if number % 10 == 0 {
            replace(&agent, "spec: [not a profile");
            let (code, body) = agent.until_ready_says("last good profile");
            assert_eq!(code, 200, "{body}");
            assert_eq!(agent.generation(), Ok(number - 1), "a bad edit changed what runs");
        }
        let text = generation(dir.path(), number);
        if number % 2 == 0 {
            replace(&agent, &text);
        } else {
            fs::write(agent.setup.profile(), text).expect("writes in place");
        }
        agent.until_generation(number);
        agent.cut();
    }
    let opened: u64 = storms.map(Storm::stop).into_iter().sum();
    assert_eq!(agent.generation(), Ok(EDITS + 1));
    let ledger = agent.until_settled();
    assert_eq!(ledger.slot("both").count("matched"), opened, "{ledger:?}");
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    agent.until_ready_says("profile files");

    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.assert_sequences(), 0, "events are missing");
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
    assert_within(&stream.named("both"), RATE, BURST);
    let mut newest = 1;
    for event in &stream.events {
        let found = event.generation();
        // Two CPUs may run the old and the new one for a moment; `grace()` ends that before the next edit.
        assert!(
            found + 1 >= newest,
            "generation {found} after {newest}: {event:?}"
        );
        newest = newest.max(found);
        if event.name() == "one" {
            let below = dir.path().join(side(found));
            assert!(
                Path::new(event.path()).starts_with(&below),
                "not what generation {found} takes: {event:?}"
            );
        }
    }
    assert_eq!(newest, EDITS + 1);
    for number in 1..=EDITS + 1 {
        let admitted = |event: &&Event| event.name() == "one" && event.generation() == number;
        assert!(
            stream.events.iter().any(|event| admitted(&event)),
            "no event of generation {number}"
        );
    }
}

/// *Scenario:* under a storm the profile is edited so that the kernel's table of paths, made small, cannot hold what it
/// matches; then it is edited again, to what fits.
///
/// *Guarantees:* the agent goes on: what ran before counts every open, at its generation, and `/readyz` names the table
/// with code 200; the next edit runs and the profiles are well again.
#[test]
fn edit_that_the_kernel_does_not_take_keeps_what_ran_before_it() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let text = |more: usize| {
        let all = format!(
            "{{name: all, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
            file.display()
        );
        let paths: Vec<String> = (0..more).map(|number| format!("/nowhere/{number}")).collect();
        let more = format!(
            "{{name: more{more}, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
            paths.join(", ")
        );
        profile("", &[&all, &more])
    };
    let mut agent = Setup::new(&text(1))
        .with(&["--match-paths", "6"])
        .with_file()
        .start();
    let storm = Storm::steady(&file, 1);
    replace(&agent, &text(8));
    let (code, body) = agent.until_ready_says("MATCH_PATH");
    assert_eq!(code, 200, "{body}");
    assert!(
        body.contains("profile p: generation 2 is not applied; what ran before goes on"),
        "{body}"
    );
    let before = agent.cut();
    assert_eq!(agent.generation(), Ok(1), "{before:?}");
    assert!(before.rows("more8").is_empty(), "{before:?}");
    until("events go on", || {
        let ledger = agent.cut();
        if ledger.slot("all").count("acked") > before.slot("all").count("matched") {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    replace(&agent, &text(3));
    agent.until_generation(3);
    until("the profiles are well", || match agent.get("/readyz") {
        Ok((200, body)) if !body.contains("degraded") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let opened = storm.stop();
    let ledger = agent.until_settled();
    assert_eq!(ledger.slot("all").count("matched"), opened, "{ledger:?}");
    assert!(agent.stop().0.success());
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.assert_sequences(), 0, "events are missing");
    assert!(stream.events.iter().all(|event| event.generation() != 2));
}

/// *Scenario:* another file is mounted over the profile, which no watch sees; SIGHUP comes, and comes again.
///
/// *Guarantees:* the first reads the file again and applies it; the second finds nothing new.
#[test]
fn hangup_reads_the_files_again() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let agent = Setup::new(&generation(dir.path(), 1)).with_file().start();
    let next = dir.path().join("next.yaml");
    fs::write(&next, generation(dir.path(), 2)).expect("writes");
    let _instead = Mount::over(agent.setup.profile(), &next);
    agent.signal(Signal::HUP);
    agent.until_generation(2);
    let read = agent.cut().hook("sys_exit_openat", "excluded");
    agent.signal(Signal::HUP);
    until("the agent reads again", || {
        let ledger = agent.cut();
        if ledger.hook("sys_exit_openat", "excluded") > read {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    agent.cut();
    assert_eq!(
        agent.generation(),
        Ok(2),
        "reading the same file again is no edit"
    );
}

/// *Scenario:* limits of one event a second are in debt for minutes, in the event's own bucket, its pod's, its
/// workload's and its profile's; an edit raises them to 500 a second.
///
/// *Guarantees:* the new limits hold from the edit on, in every window, and pass 0.98 of their rate; old debts are
/// forgotten.
#[test]
fn raised_limit_is_not_held_back_by_the_old_ones_debt() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let paths = format!("match: {{paths: {{exact: [{}]}}}}", file.display());
    let limited = |rate: &str| {
        let own = |name: &str, per: &str| {
            format!("{{name: {name}, kind: file.open, {paths}, limit: {{eventsPerSecond: {rate}{per}}}}}")
        };
        let free = format!("{{name: free, kind: file.open, {paths}}}");
        let one = profile("", &[&own("node", ""), &own("pod", ", per: Pod")]);
        let two = profile(&format!("limits: {{perWorkload: {{max: {rate}}}}}"), &[&free]);
        let three = profile(
            &format!("limits: {{eventsPerSecond: {rate}}}"),
            &[&free.replace("free", "all")],
        );
        [
            one,
            two.replace("name: p}", "name: q}"),
            three.replace("name: p}", "name: r}"),
        ]
        .join("---\n")
    };
    let mut agent = Setup::new(&limited("1, burst: 100")).with_file().start();
    let storm = Storm::start(&file, 2);
    let names = ["node", "pod", "free", "all"];
    let until_each = |acked: u64| {
        until("each event is acked", || {
            let ledger = agent.cut();
            if names.iter().all(|name| ledger.slot(name).count("acked") >= acked) {
                Ok(())
            } else {
                Err(format!("{ledger:?}"))
            }
        });
    };
    until_each(100);
    replace(&agent, &limited("500"));
    agent.until_generation(2);
    let begun = Instant::now();
    until_each(1_000);
    let took = begun.elapsed();
    let opened = storm.stop();
    let ledger = agent.until_settled();
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    for name in names {
        assert_eq!(ledger.slot(name).count("matched"), opened, "{ledger:?}");
        let new: Vec<&Event> = stream
            .named(name)
            .into_iter()
            .filter(|event| event.generation() == 2)
            .collect();
        assert_within(&new, 500, 50);
        assert_saturated(new.len(), 500.0, took);
    }
}

/// *Scenario:* under a storm a profile is suspended, goes on, is replaced by another, and comes back.
///
/// *Guarantees:* while it is suspended or away nothing of it is counted or emitted; its `seq` goes on without a gap
/// or a repeat; rows of removed events stay in the ledger as they were.
#[test]
fn profile_suspended_and_removed_and_back_goes_on_in_its_sequence() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}, limit: {{eventsPerSecond: 1000}}}}",
        file.display()
    );
    let active = profile("", &[&opens]);
    let suspended = profile("mode: Suspended", &[&opens]);
    let other = active
        .replace("name: p}", "name: q}")
        .replace("name: opens", "name: others");
    let mut agent = Setup::new(&active).with_file().start();
    let storm = Storm::start(&file, 2);
    let sum = |ledger: &Ledger, event: &str, count: &str| -> u64 {
        ledger.rows(event).iter().map(|row| row.count(count)).sum()
    };
    let until_more = |event: &str| {
        let before = sum(&agent.cut(), event, "acked");
        until("more of the event is acked", || {
            let ledger = agent.cut();
            if sum(&ledger, event, "acked") > before + 300 {
                Ok(())
            } else {
                Err(format!("{ledger:?}"))
            }
        });
    };
    let until_still = |event: &str| {
        until("nothing is matched any more", || {
            let (one, two) = (agent.cut(), agent.cut());
            let (one, two) = (sum(&one, event, "matched"), sum(&two, event, "matched"));
            if one == two {
                Ok(())
            } else {
                Err(format!("{one} {two}"))
            }
        });
    };
    until_more("opens");
    replace(&agent, &suspended);
    until_still("opens");
    replace(&agent, &active);
    until_more("opens");
    replace(&agent, &other);
    until_more("others");
    until_still("opens");
    replace(&agent, &active);
    until_still("others");
    until_more("opens");
    let opened = storm.stop();
    let ledger = agent.until_settled();
    assert!(sum(&ledger, "opens", "matched") < opened, "{ledger:?}");
    assert_eq!(ledger.total("shed"), 0, "{ledger:?}");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.assert_sequences(), 0, "events are missing");
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
}
