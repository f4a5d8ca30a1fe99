//! What the demo ends with: the ledger, the comparison, and what to try next.

use anyhow::{Result, bail};

use super::agent::Cut;
use super::compare::{Check, checks};
use super::ledger::{Ledger, Slot};
use super::received::{Delivered, Received};
use super::workload::Made;
use crate::table::{self, grouped};

const LIMITED: [&str; 3] = ["limitedEvent", "limitedProfile", "limitedWorkload"];
const HELD_BACK: [&str; 5] = ["sampledOut", "dryRun", "throttled", "suppressed", "ringFull"];
const DROPPED: [&str; 3] = ["malformed", "outOfScope", "filtered"];
const WAITING: [&str; 5] = ["inRing", "held", "queued", "spooled", "unacked"];
const LOST: [&str; 2] = ["shed", "rejected"];

const NEXT: &str = "\
what to try next:
  edit xtask/demo/profile.yaml (a limit, a match, another event) and run the demo again
  sudo target/weir-agent run --profile xtask/demo/profile.yaml --sink stdout
  sudo target/weir-agent probe      which hooks this kernel offers, and why others do not work
  target/weir-agent check FILE      what is wrong with a profile, before it is used
  cargo xtask test                          every test there is";

/// Prints it all; fails if the comparison is not exact.
pub(super) fn print(ledger: &Ledger, received: &Received, made: &Made, midway: &Cut) -> Result<()> {
    println!("\nthe ledger, as the agent published it last (per event of profile `demo`):");
    println!("{}", ledger_table(ledger)?);
    for hook in ledger.hooks.iter().filter(|hook| hook.missed + hook.errors > 0) {
        println!(
            "hook {}: {} runs skipped by the kernel, {} errors",
            hook.name, hook.missed, hook.errors
        );
    }
    println!(
        "\nthe stream, read back by a consumer that shares no code with the agent ({} messages):",
        grouped(received.messages)
    );
    println!("{}", received_table(ledger, received)?);
    println!(
        "the flood: {} opens in {:.2} s",
        grouped(made.flood_opens),
        made.flood_time.as_secs_f64(),
    );

    let checks = checks(ledger, received, made, midway.closed)?;
    println!("\nthe comparison:");
    println!("{}", checks_table(&checks));
    let broken = checks.iter().filter(|check| !check.holds).count();
    if broken > 0 {
        bail!(
            "the comparison is not exact: {broken} of {} checks do not hold",
            checks.len()
        );
    }
    println!("exact: all {} checks hold\n\n{NEXT}", checks.len());
    Ok(())
}

fn ledger_table(ledger: &Ledger) -> Result<comfy_table::Table> {
    let header = [
        "event",
        "kind",
        "matched",
        "limited",
        "sampled,\nring full, ...",
        "ringed",
        "filtered,\nmalformed, ...",
        "accepted",
        "acked",
        "waiting",
        "shed,\nrejected",
    ];
    let mut table = table::new(&header, &[2, 3, 4, 5, 6, 7, 8, 9, 10]);
    for slot in &ledger.slots {
        table.add_row([
            slot.key.event.clone(),
            slot.kind.clone(),
            cell(slot, &["matched"])?,
            cell(slot, &LIMITED)?,
            cell(slot, &HELD_BACK)?,
            cell(slot, &["ringed"])?,
            cell(slot, &DROPPED)?,
            cell(slot, &["accepted"])?,
            cell(slot, &["acked"])?,
            cell(slot, &WAITING)?,
            cell(slot, &LOST)?,
        ]);
    }
    Ok(table)
}

fn received_table(ledger: &Ledger, received: &Received) -> Result<comfy_table::Table> {
    let mut table = table::new(
        &["event", "acked by the ledger", "received", "duplicates"],
        &[1, 2, 3],
    );
    for slot in &ledger.slots {
        let delivered = received.slots.get(&slot.key);
        table.add_row([
            slot.key.event.clone(),
            cell(slot, &["acked"])?,
            grouped(delivered.map_or(0, Delivered::distinct)),
            grouped(delivered.map_or(0, |delivered| delivered.duplicates)),
        ]);
    }
    Ok(table)
}

fn checks_table(checks: &[Check]) -> comfy_table::Table {
    let mut table = table::new(&["event", "rule", "left", "right", ""], &[2, 3]);
    for check in checks {
        let verdict = if check.holds { "holds" } else { "BROKEN" };
        table.add_row([
            &check.subject,
            check.rule,
            &grouped(check.left),
            &grouped(check.right),
            verdict,
        ]);
    }
    table
}

fn cell(slot: &Slot, names: &[&str]) -> Result<String> {
    Ok(grouped(slot.sum(names)?))
}
