//! The agent with nothing to do but to watch.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::Ctx;
use crate::agent::Agent;
use crate::config::{Event, Sink, opens};
use crate::report::Row;
use crate::server::Server;
use crate::stat::{Samples, float};
use crate::storm::Target;

const WINDOW: Duration = Duration::from_secs(5);
const ROUNDS: usize = 4;

/// The rows.
pub(super) fn rows(ctx: &mut Ctx<'_>) -> Result<Vec<Row>> {
    let (server, target) = (Server::start(ctx.nats_server)?, Target::new()?);
    let profile = opens(
        "Active",
        &target.prefix(),
        &[Event::unlimited("opens")],
        Sink::default(server.url()),
    );
    let agent = Agent::start(ctx.agent, &profile, &[])?;
    let mut percent = Vec::new();
    for _ in 0..ROUNDS {
        let from = agent.cpu_ns()?;
        thread::sleep(WINDOW);
        percent.push(float(agent.cpu_ns()? - from) / WINDOW.as_secs_f64() / 1e7);
    }
    agent.stop()?;
    Ok(vec![
        Row::new(
            "idle",
            "idle: nothing matches",
            "% of a core",
            Samples::of(percent),
        )
        .at_most(0.2, "≤ 0.2 %")
        .note("programs that start and end elsewhere on the machine are followed meanwhile, as on any node"),
    ])
}
