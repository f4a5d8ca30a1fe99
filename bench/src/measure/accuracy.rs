//! How close to the set rate limits are, with opens from every CPU at once: from the ledger, between two cuts.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Ctx;
use crate::agent::Agent;
use crate::config::{Event, Sink, opens};
use crate::report::Row;
use crate::server::Server;
use crate::stat::{Samples, float};
use crate::storm::{Plan, Storm, Target};

const RATES: [u64; 4] = [10, 500, 10_000, 100_000];
/// Long enough for the slowest limit to pass a hundred.
const WINDOW: Duration = Duration::from_secs(10);
/// Time for the bursts to be used up.
const BEFORE: Duration = Duration::from_millis(1_500);

/// The rows.
pub(super) fn rows(ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    let server = Server::start(ctx.nats_server)?;
    let target = Target::new()?;
    let events: Vec<Event> = RATES
        .iter()
        .map(|rate| Event::limited(format!("r{rate}"), *rate))
        .collect();
    let sink = Sink {
        encoding: "Protobuf",
        ..Sink::default(server.url())
    };
    let agent = Agent::start(ctx.agent, &opens("Active", &target.prefix(), &events, sink), &[])?;
    let plan = Plan::Flat(BEFORE + WINDOW + Duration::from_secs(2));
    let storms = (0..2)
        .map(|cpu| Storm::start(&target.file(), Some(cpu), plan))
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(BEFORE);
    let from = agent.cut()?;
    thread::sleep(WINDOW);
    let to = agent.cut()?;
    for storm in storms {
        storm.finish()?;
    }
    let mut agent = agent;
    let end = agent.settled()?;
    let seconds = to.seconds - from.seconds;
    let mut rows = Vec::new();
    for rate in RATES {
        let event = format!("r{rate}");
        let between = |name: &str| to.count(&event, name) - from.count(&event, name);
        let (matched, admitted) = (between("matched"), between("ringed") + between("ring_full"));
        ensure!(
            float(matched) / seconds > float(rate),
            "the storm made fewer opens than {rate} per second"
        );
        let got = float(admitted) / seconds;
        let row = Row::new(
            "accuracy",
            format!("limit of {rate}/s, storm on both CPUs: admitted"),
            "/s",
            Samples::of(vec![got]),
        )
        .beside("set rate", Samples::of(vec![float(rate)]))
        .note(format!(
            "of {:.0} k opens/s; ring full {}",
            float(matched) / seconds / 1e3,
            between("ring_full")
        ));
        let off = (got / float(rate) - 1.0).abs();
        let mut row = row.ratio_at_most(f64::INFINITY, "within 2 %");
        if let Some(budget) = &mut row.budget {
            budget.met = off <= 0.02;
        }
        rows.push(row);
    }
    ensure!(
        end.total("accepted") == end.total("acked"),
        "not every admitted event was acknowledged"
    );
    agent.stop()?;
    Ok(rows)
}
