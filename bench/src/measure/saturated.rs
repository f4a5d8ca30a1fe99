//! As much as goes: acknowledged events per second with batches and with one event per message, from a generator that
//! never ends; and a real open storm on every CPU.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::Ctx;
use crate::agent::Agent;
use crate::config::{Event, Sink, kinds, opens};
use crate::procfs;
use crate::report::Row;
use crate::server::Server;
use crate::stat::{Samples, float};
use crate::storm::{Plan, Storm, Target};

const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_secs(2);
const WARM: Duration = Duration::from_millis(500);
/// More than goes through.
const ENDLESS: &str = "synthetic:10000000";
const STORM: Duration = Duration::from_secs(5);

/// The rows.
pub(super) fn rows(ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    let (mut batched, mut single, mut json) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        batched.push(synthetic(ctx, "Protobuf", None)?);
        single.push(synthetic(ctx, "Protobuf", Some(1))?);
        json.push(synthetic(ctx, "Json", None)?);
    }
    let [batched, single, json] = [batched, single, json].map(Samples::of);
    let mut rows = vec![
        Row::new(
            "saturated",
            "acked events, protobuf, generator",
            "/s",
            batched.clone(),
        )
        .beside("one event per message", single)
        .at_least(2e6, "≥ 2 M/s")
        .note("what does not go through is shed and counted"),
        Row::new("saturated", "acked events, JSON, generator", "/s", json).beside("protobuf", batched),
    ];
    rows.extend(storm(ctx)?);
    Ok(rows)
}

/// Acknowledged events per second.
fn synthetic(ctx: &Ctx<'_>, encoding: &'static str, max_events: Option<u32>) -> Result<f64> {
    let server = Server::start(ctx.nats_server)?;
    let sink = Sink {
        encoding,
        max_events,
        ..Sink::default(server.url())
    };
    let agent = Agent::start(ctx.agent, &kinds(&["file.open"], sink), &["--source", ENDLESS])?;
    thread::sleep(WARM);
    let acked = |agent: &Agent| agent.metric("weir_agent_publish_events_total", "outcome=\"acked\"");
    let (begin, from) = (std::time::Instant::now(), acked(&agent)?);
    thread::sleep(WINDOW);
    let (seconds, to) = (begin.elapsed().as_secs_f64(), acked(&agent)?);
    agent.stop()?;
    Ok((to - from) / seconds)
}

fn storm(ctx: &Ctx<'_>) -> Result<Vec<Row>> {
    let (server, target) = (Server::start(ctx.nats_server)?, Target::new()?);
    let sink = Sink {
        encoding: "Protobuf",
        ..Sink::default(server.url())
    };
    let profile = opens("Active", &target.prefix(), &[Event::unlimited("opens")], sink);
    let (mut rates, mut lost, mut agent_ns, mut server_ns) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for cpus in [1, 2] {
        let mut agent = Agent::start(ctx.agent, &profile, &[])?;
        let (agent_from, server_from) = (agent.cpu_ns()?, procfs::cpu_ns(server.pid())?);
        let storms = (0..cpus)
            .map(|cpu| Storm::start(&target.file(), Some(cpu), Plan::Flat(STORM)))
            .collect::<Result<Vec<_>>>()?;
        let made = storms
            .into_iter()
            .map(Storm::finish)
            .collect::<Result<Vec<_>>>()?;
        let cut = agent.settled()?;
        let events = float(made.iter().map(|made| made.opens).sum());
        agent_ns.push(float(agent.cpu_ns()? - agent_from) / events);
        server_ns.push(float(procfs::cpu_ns(server.pid())? - server_from) / events);
        rates.push(events / STORM.as_secs_f64());
        lost.push(events - float(cut.count("opens", "acked")));
        agent.stop()?;
    }
    let row = |what: &str, unit, value: f64| Row::new("saturated", what, unit, Samples::of(vec![value]));
    Ok([("one CPU", 0), ("both CPUs", 1)]
        .into_iter()
        .flat_map(|(what, at)| {
            [
                row(
                    &format!("open storm on {what}: every open acked"),
                    "/s",
                    rates[at],
                )
                .note(format!(
                    "{} of them lost; agent {:.0} ns of CPU per event, nats-server {:.0} ns",
                    lost[at], agent_ns[at], server_ns[at]
                )),
                row(&format!("open storm on {what}: lost"), "events", lost[at])
                    .at_most(0.0, "none at ≥ 350 k/s"),
            ]
        })
        .collect())
}
