//! Edits of the profile file while events flow.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use super::limit::assert_within;
use crate::agent::{Agent, Setup, may_test, until};
use crate::profile::profile;
use crate::stream::{Event, Stream};
use crate::workload::{Storm, marker};

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

/// *Scenario:* both sides' files are opened in a storm while the profile is edited fifty times, by renaming over it
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
    let mut agent = Setup::new(&generation(dir.path(), 1)).to_file().start();
    let storms = files.each_ref().map(|file| Storm::start(file, 1));
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
        assert!(found + 1 >= newest, "generation {found} after {newest}: {event:?}");
        newest = newest.max(found);
        if event.name() == "one" {
            let below = dir.path().join(side(found));
            assert!(Path::new(event.path()).starts_with(&below), "not what generation {found} takes: {event:?}");
        }
    }
    assert_eq!(newest, EDITS + 1);
    for number in 1..=EDITS + 1 {
        let admitted = |event: &&Event| event.name() == "one" && event.generation() == number;
        assert!(stream.events.iter().any(|event| admitted(&event)), "no event of generation {number}");
    }
}

/// *Scenario:* the profile is reached through a directory that is exchanged whole, which nothing tells the agent of;
/// then SIGHUP comes.
///
/// *Guarantees:* SIGHUP reads the files again.
#[test]
fn hangup_reads_the_files_again() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let agent = Setup::new(&generation(dir.path(), 1)).to_file().start();
    fs::write(agent.setup.profile(), generation(dir.path(), 2)).expect("writes");
    agent.signal(Signal::HUP);
    agent.until_generation(2);
    agent.signal(Signal::HUP);
    until("the agent lives on", || match agent.get("/livez") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    agent.cut();
    assert_eq!(agent.generation(), Ok(2), "reading the same file again is no edit");
}
