//! What one more profile event and its limit cost in the kernel: many events match the same open, and the added time
//! is divided by their number.

use std::time::Duration;

use anyhow::Result;

use super::Ctx;
use crate::agent::Agent;
use crate::config::{Event, Sink, opens};
use crate::report::Row;
use crate::server::Server;
use crate::stat::{Samples, float};
use crate::storm::{Plan, Storm, Target};

/// Further events of the profile beside the first.
const MORE: u32 = 32;
const ROUNDS: usize = 11;
const STORM: Duration = Duration::from_millis(300);

/// The rows.
pub(super) fn rows(ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    let server = Server::start(ctx.nats_server)?;
    let target = Target::new()?;
    let events =
        |count: u32, of: fn(String) -> Event| (0..count).map(|number| of(format!("e{number}"))).collect();
    let held = |name: String| Event {
        name,
        limit: Some((1, 1)),
    };
    let variants: [Vec<Event>; 4] = [
        events(1, Event::unlimited),
        events(1 + MORE, Event::unlimited),
        events(1 + MORE, |name| Event {
            name,
            limit: Some((1_000_000, 100_000)),
        }),
        events(1 + MORE, held),
    ];
    let start = opens(
        "DryRun",
        &target.prefix(),
        &[Event::unlimited("start")],
        Sink::default(server.url()),
    );
    let mut agent = Agent::start(ctx.agent, &start, &[])?;
    let mut rounds: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        for (variant, rounds) in variants.iter().zip(&mut rounds) {
            // DryRun decides and counts everything and sends nothing: what is left is the decision.
            let profile = opens("DryRun", &target.prefix(), variant, Sink::default(server.url()));
            agent.edit(&profile)?;
            let made = Storm::run(&target.file(), 0, Plan::Flat(STORM))?;
            rounds.push(float(made.cpu_ns) / float(made.opens));
        }
    }
    agent.stop()?;
    let [one, free, admitting, holding] = rounds.map(Samples::of);
    let per = 1.0 / f64::from(MORE);
    let row = |what: &str, samples: Samples| Row::new("limiter", what, "ns", samples);
    Ok(vec![
        row(
            "a further matching event without a limit, in the kernel",
            free.minus(&one).times(per),
        ),
        row(
            "a further matching event with a limit that admits",
            admitting.minus(&one).times(per),
        ),
        row(
            "a further matching event with a limit that holds back",
            holding.minus(&one).times(per),
        )
        .at_most(15.0, "≤ 15 ns scope and limit"),
        row(
            "the limit's own part (admitting)",
            admitting.minus(&free).times(per),
        ),
    ])
}
