//! The agent under a steady flow of 20 000 real opens per second: CPU, memory, loss, latency from kernel to ack.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Ctx;
use crate::agent::Agent;
use crate::config::{Event, Sink, opens};
use crate::latency::Consumer;
use crate::procfs;
use crate::report::Row;
use crate::server::Server;
use crate::stat::{Samples, float};
use crate::storm::{Plan, Storm, Target};

const RATE: u64 = 20_000;
const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_secs(12);
/// For the consumer to be there before the first event.
const BEFORE: Duration = Duration::from_millis(700);

/// One configuration under the flow.
struct Case {
    name: &'static str,
    encoding: &'static str,
    linger_ms: Option<u32>,
    time: Duration,
    cpu_percent: f64,
    p99_ms: f64,
}

const CASES: [Case; 4] = [
    Case {
        name: "default: JSON, linger 5 ms",
        encoding: "Json",
        linger_ms: None,
        time: LONG,
        cpu_percent: 4.0,
        p99_ms: 7.0,
    },
    Case {
        name: "JSON, linger 1 ms",
        encoding: "Json",
        linger_ms: Some(1),
        time: SHORT,
        cpu_percent: 9.0,
        p99_ms: 2.0,
    },
    Case {
        name: "protobuf, linger 5 ms",
        encoding: "Protobuf",
        linger_ms: None,
        time: SHORT,
        cpu_percent: 4.0,
        p99_ms: 7.0,
    },
    Case {
        name: "protobuf, linger 1 ms",
        encoding: "Protobuf",
        linger_ms: Some(1),
        time: SHORT,
        cpu_percent: 9.0,
        p99_ms: 2.0,
    },
];

/// The rows.
pub(super) fn rows(ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in CASES {
        rows.extend(flow(ctx, &case)?);
    }
    Ok(rows)
}

fn flow(ctx: &Ctx<'_>, case: &Case) -> Result<Vec<Row>> {
    let (server, target) = (Server::start(ctx.nats_server)?, Target::new()?);
    let sink = Sink {
        encoding: case.encoding,
        linger_ms: case.linger_ms,
        ..Sink::default(server.url())
    };
    let profile = opens("Active", &target.prefix(), &[Event::unlimited("opens")], sink);
    let mut agent = Agent::start(ctx.agent, &profile, &[])?;
    let loaded = agent.memory()?;
    let ping = Consumer::ping(server.url())?;
    let consumer = Consumer::start(server.url(), BEFORE + case.time + Duration::from_secs(1))?;
    thread::sleep(BEFORE);
    let (agent_from, server_from) = (agent.cpu_ns()?, procfs::cpu_ns(server.pid())?);
    let storm = Storm::start(&target.file(), None, Plan::Paced(case.time, RATE))?;
    thread::sleep(case.time / 4);
    let early = agent.memory()?;
    thread::sleep(case.time / 4 * 3);
    let (agent_to, server_to, memory) = (agent.cpu_ns()?, procfs::cpu_ns(server.pid())?, agent.memory()?);
    let made = storm.finish()?;
    let cut = agent.settled()?;
    let late = consumer.finish()?;
    let acked = cut.count("opens", "acked");
    ensure!(
        float(made.opens) > 0.9 * float(RATE) * case.time.as_secs_f64(),
        "the storm fell behind: {made:?}"
    );
    ensure!(
        late.events == acked,
        "{acked} acknowledged, but the consumer has seen {}",
        late.events
    );
    let percent = |from: u64, to: u64| float(to - from) / case.time.as_secs_f64() / 1e7;
    let milliseconds = |micros: u32| f64::from(micros) / 1e3;
    let row = |what: &str, unit, value: f64| {
        Row::new(
            "steady",
            format!("20 k opens/s, {}: {what}", case.name),
            unit,
            Samples::of(vec![value]),
        )
    };
    let mut rows = vec![
        row("agent", "% of a core", percent(agent_from, agent_to))
            .at_most(case.cpu_percent, &format!("≤ {} %", case.cpu_percent))
            .note(format!(
                "nats-server {:.1} %; {:.0} B per event in messages of {:.0} events",
                percent(server_from, server_to),
                float(late.bytes) / float(late.events),
                float(late.events) / float(late.messages)
            )),
        row("kernel to ack p99", "ms", milliseconds(late.p99_us))
            .beside(
                "one message's own ack p99",
                Samples::of(vec![milliseconds(ping.p99_us)]),
            )
            .at_most(case.p99_ms, &format!("≤ {} ms", case.p99_ms))
            .note(format!(
                "p50 {:.2} ms, p99.9 {:.2} ms; sent to acked p99 ≤ {} ms (the agent's histogram)",
                milliseconds(late.p50_us),
                milliseconds(late.p999_us),
                agent.ack_ms(0.99)?.unwrap_or(f64::NAN)
            )),
    ];
    if case.time == LONG {
        rows.extend([
            row("lost in 60 s", "events", float(made.opens - acked))
                .at_most(0.0, "0")
                .note(format!("of {}", made.opens)),
            row("RSS", "MB", memory.rss)
                .at_most(25.0, "≤ 25 MB")
                .note(format!(
                    "PSS {:.1} MB; the ring's 4 MiB are mapped twice and count twice in RSS",
                    memory.pss
                )),
            row("RSS at the end by RSS after 15 s", "x", memory.rss / early.rss).at_most(1.02, "≤ 1.02"),
            row("highest RSS while loading", "MB", loaded.peak)
                .at_most(60.0, "≤ 60 MB")
                .note(format!("{:.1} MB once loaded", loaded.rss)),
        ]);
    }
    agent.stop()?;
    Ok(rows)
}
