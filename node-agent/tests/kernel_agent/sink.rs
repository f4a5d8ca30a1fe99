//! Sinks that do not take events: shown with a remedy, counted, and repaired without a restart.

use std::fmt::Write as _;
use std::path::Path;

use async_nats::jetstream::stream::{Config, RetentionPolicy};

use crate::agent::{Agent, Setup, may_test, until};
use crate::mount::Mount;
use crate::profile::profile;
use crate::server::{Server, create_stream, stored};
use crate::stream::{Stream, number};
use crate::workload::{Storm, marked, perl_says};

fn opens(file: &Path) -> String {
    profile(
        "",
        &[&format!(
            "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
            file.display()
        )],
    )
}

fn open_some(file: &Path) {
    perl_says(
        "for (1..100) { sysopen(my $f, $ARGV[0], 0) or die }",
        &[&file.display().to_string()],
    );
}

/// The events wait, nothing is lost, and `/readyz` says why with code 200.
fn assert_waits(agent: &Agent, reason: &str) -> String {
    let (code, body) = agent.until_ready_says(reason);
    assert_eq!(code, 200, "{body}");
    let ledger = agent.cut();
    assert_eq!(
        ledger.total("queued") + ledger.total("unacked"),
        100,
        "{ledger:?}"
    );
    let (_, metrics) = agent.get("/metrics").expect("answers");
    let degraded = |line: &&str| line.contains("sink") && line.contains("degraded") && line.ends_with(" 1");
    assert!(
        metrics.lines().any(|line| degraded(&line)),
        "no metric shows it: {metrics}"
    );
    body
}

/// *Scenario:* nobody listens where the sink is said to be; later somebody does.
///
/// *Guarantees:* the agent runs and shows the reason; what waited is acked when the server comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_sink_is_shown_and_gets_everything_once_it_is_there() {
    if !may_test() {
        return;
    }
    let Some(mut server) = Server::prepare("") else {
        return;
    };
    let (_dir, file) = marked();
    let mut agent = Setup::new(&opens(&file))
        .with_sink(&format!("{}?stream=S", server.url()))
        .start();
    open_some(&file);
    assert_waits(&agent, "refused");
    server.run().await;
    let ledger = agent.until_settled();
    assert_eq!(ledger.total("acked"), 100, "{ledger:?}");
    agent.until_ready_says("live");
    assert!(agent.stop().0.success());
}

/// *Scenario:* the stream is there and takes other subjects; then it takes ours.
///
/// *Guarantees:* as above.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_does_not_take_the_subject_is_shown_until_it_does() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    create_stream(&jetstream, "S", &["other.>"]).await;
    let (_dir, file) = marked();
    let mut agent = Setup::new(&opens(&file))
        .with_sink(&format!("{}?stream=S&manage=External", server.url()))
        .start();
    open_some(&file);
    let body = assert_waits(&agent, "other.>");
    assert!(
        body.contains("weir.events") && body.contains("add the subject"),
        "{body}"
    );
    let config = Config {
        name: "S".into(),
        subjects: vec!["other.>".into(), "weir.events.>".into()],
        ..Config::default()
    };
    jetstream.update_stream(config).await.expect("updates");
    let ledger = agent.until_settled();
    assert_eq!(ledger.total("acked"), 100, "{ledger:?}");
    assert!(agent.stop().0.success());
}

/// *Scenario:* the agent is to make the stream, and one of that name is there that it must not change.
///
/// *Guarantees:* shown with the difference, and it stays shown; nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_must_not_be_changed_is_shown_with_the_difference() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("").await else {
        return;
    };
    let other = Config {
        name: "S".into(),
        subjects: vec!["other.>".into()],
        retention: RetentionPolicy::WorkQueue,
        ..Config::default()
    };
    let jetstream = server.jetstream().await;
    jetstream.create_stream(other).await.expect("creates the stream");
    let (_dir, file) = marked();
    let agent = Setup::new(&opens(&file))
        .with_sink(&format!("{}?stream=S", server.url()))
        .start();
    open_some(&file);
    let body = assert_waits(&agent, "exists with other settings");
    assert!(body.contains("retention is WorkQueue"), "{body}");
    // Each further refusal shows the same.
    let before = agent.log().matches("StreamMissing").count();
    agent.cut();
    assert_waits(&agent, "exists with other settings");
    assert_eq!(before, 0, "{}", agent.log());
}

/// *Scenario:* the server wants a user and password that the agent does not have.
///
/// *Guarantees:* shown, with where to put credentials; nothing is lost but what the end makes it shed, and that is
/// counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_shown_with_where_to_put_the_right_ones() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("authorization { user: a, password: b }").await else {
        return;
    };
    let (_dir, file) = marked();
    let mut agent = Setup::new(&opens(&file))
        .with_sink(&format!("{}?stream=S", server.url()))
        .start();
    open_some(&file);
    let body = assert_waits(&agent, "credentials");
    assert!(body.contains("credentials directory"), "{body}");
    let (status, took) = agent.stop();
    assert!(status.success(), "{status}");
    assert!(took.as_secs() < 5, "{took:?}");
}

/// *Scenario:* the disk of a `file:` sink is full; then it has room.
///
/// *Guarantees:* shown, with the remedy; the file holds whole batches only, and everything once there is room.
#[test]
fn full_disk_is_shown_and_leaves_no_half_batch() {
    if !may_test() {
        return;
    }
    let (dir, file) = marked();
    let tiny = Mount::tmpfs(dir.path().join("tiny"), "16k");
    let events = tiny.path().join("events.json");
    let mut agent = Setup::new(&opens(&file))
        .with_sink(&format!("file:{}", events.display()))
        .start();
    open_some(&file);
    let (code, body) = agent.until_ready_says("free space");
    assert_eq!(code, 200, "{body}");
    let ledger = agent.cut();
    assert!(ledger.total("queued") + ledger.total("unacked") > 0, "{ledger:?}");
    let whole = Stream::of_file(&events);
    assert_eq!(whole.events.len() as u64, ledger.total("acked"));
    tiny.resize("10m");
    let ledger = until("everything is written", || {
        let ledger = agent.cut();
        if ledger.total("acked") == 100 {
            Ok(ledger)
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    assert_eq!(ledger.total("accepted"), 100, "{ledger:?}");
    assert!(agent.stop().0.success());
    let stream = Stream::of_file(&events);
    assert_eq!(stream.assert_sequences(), 0);
    assert_eq!(stream.events.len(), 100);
}

/// *Scenario:* under a storm a profile is edited to go to another sink, and back.
///
/// *Guarantees:* both streams announce both boundaries, and everything between them went to the other sink and nothing
/// else did: what is missing in one stream is explained by it alone. Nothing is lost or twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn profile_that_changes_its_sink_announces_the_boundary_in_both_streams() {
    if !may_test() {
        return;
    }
    let Some(server) = Server::start("").await else {
        return;
    };
    let jetstream = server.jetstream().await;
    let (_dir, file) = marked();
    let mut sinks = String::new();
    for (name, stream) in [("a", "A"), ("b", "B")] {
        create_stream(&jetstream, stream, &[&format!("{name}.>")]).await;
        let url = server.url();
        write!(
            sinks,
            "---\napiVersion: weir.dev/v1alpha1\nkind: CollectorSink\nmetadata: {{name: {name}}}\nspec:\n  nats:\n    \
             servers: ['{url}']\n    subjectPrefix: {name}\n    stream: {{name: {stream}, manage: External}}\n"
        )
        .expect("a string takes it");
    }
    let going_to = |sink: &str| {
        let opens = format!(
            "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}, limit: {{eventsPerSecond: 4000}}}}",
            file.display()
        );
        profile(&format!("sinkRef: {{name: {sink}}}"), &[&opens]) + &sinks
    };
    let mut agent = Setup::new(&going_to("a")).start();
    let storm = Storm::start(&file, 2);
    let until_more = || {
        let before = agent.cut().total("accepted");
        until("more is acked", || {
            let ledger = agent.cut();
            if ledger.total("acked") > before + 1_000 {
                Ok(())
            } else {
                Err(format!("{ledger:?}"))
            }
        });
    };
    until_more();
    for (generation, sink) in [(2, "b"), (3, "a")] {
        let next = agent.setup.profile().with_extension("next");
        std::fs::write(&next, going_to(sink)).expect("writes");
        std::fs::rename(next, agent.setup.profile()).expect("renames");
        agent.until_generation(generation);
        until_more();
    }
    storm.stop();
    let ledger = agent.until_settled();
    assert!(agent.stop().0.success());

    let [a, b] = [stored(&jetstream, "A").await, stored(&jetstream, "B").await];
    let whole = Stream::of_messages(&[a.as_slice(), b.as_slice()].concat());
    assert_eq!(whole.assert_sequences(), 0, "events are missing");
    assert_eq!(whole.events.len() as u64, ledger.total("acked"));
    let [a, b] = [Stream::of_messages(&a), Stream::of_messages(&b)];
    let boundaries = |stream: &Stream| -> Vec<(String, u64, u64)> {
        let told = stream
            .agent
            .iter()
            .filter(|event| event.kind() == "agent.profile");
        told.map(|event| {
            let profile = &event.data()["agentProfile"];
            assert_eq!(profile["profile"], "p", "{event:?}");
            assert_eq!(profile["state"], "active", "{event:?}");
            let sink = profile["sink"].as_str().expect("names a sink").to_owned();
            (sink, number(&profile["generation"]), number(&profile["nextSeq"]))
        })
        .collect()
    };
    let told = boundaries(&a);
    assert_eq!(told, boundaries(&b));
    let [(to_b, 2, first), (to_a, 3, last)] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((to_b.as_str(), to_a.as_str()), ("b", "a"));
    let between = *first..*last;
    assert!(between.end - between.start > 1_000, "{told:?}");
    assert!(a.events.iter().all(|event| !between.contains(&event.seq())));
    assert!(b.events.iter().all(|event| between.contains(&event.seq())));
}
