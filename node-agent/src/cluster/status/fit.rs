//! Fits the report into what the API server and the contract take: 128 profiles, 64 sinks, 32 KiB.
//!
//! Hooks, profiles and sinks have a budget each, and rates count as much as they can ever be: a sink that fails on the
//! whole fleet, or a rate with one more digit, must not change what is told of profiles. Pure.

use serde::Serialize;
use weir_profile::CollectorNodeStatus;
use weir_profile::api::{ConditionReason, HookStatus, NodeProfile, NodeSink, Window};

/// As the schema has it.
const PROFILES_MAX: usize = 128;
/// As the schema has it.
const SINKS_MAX: usize = 64;
/// As the schema has it.
const HOOKS_MAX: usize = 64;
/// JSON of all profiles: 64 running ones with the longest names fit.
const PROFILES_BYTES: usize = 22 << 10;
/// JSON of all sinks.
const SINKS_BYTES: usize = 5 << 10;
/// JSON of all hooks. With the above, 1 KiB is left for all else, whose fields the schema bounds.
const HOOKS_BYTES: usize = 4 << 10;
/// What a shortened message has, bytes.
const SHORT: usize = 64;
/// No rate is written longer.
const LARGEST_RATE: i64 = 1_000_000_000;

/// A report that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The report.
    pub status: CollectorNodeStatus,
    /// That for which there is no room.
    pub left_out: LeftOut,
}

/// How many rows there is no room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Profiles that select the node, by their rank the last.
    pub profiles: usize,
    /// Sinks that those use.
    pub sinks: usize,
}

/// Makes the report fit: first messages are shortened, then left out, then the last rows are.
pub(super) fn fit(mut status: CollectorNodeStatus) -> Fitted {
    let profile: [fn(&mut NodeProfile); 4] = [
        |row| {
            shorten(&mut row.message);
            row.kinds.iter_mut().for_each(|kind| shorten(&mut kind.message));
        },
        |row| row.kinds.iter_mut().for_each(|kind| kind.message = None),
        |row| row.message = None,
        |row| row.kinds.clear(),
    ];
    let sink: [fn(&mut NodeSink); 2] = [|row| shorten(&mut row.message), |row| row.message = None];
    let hook: [fn(&mut HookStatus); 2] = [|row| shorten(&mut row.message), |row| row.message = None];
    let left_out = LeftOut {
        profiles: rows(
            &mut status.profiles,
            (PROFILES_MAX, PROFILES_BYTES),
            &profile,
            widest,
        ),
        sinks: rows(&mut status.sinks, (SINKS_MAX, SINKS_BYTES), &sink, Clone::clone),
    };
    // There are as many hooks as the object has programs: a dozen, and they fit without their messages.
    rows(&mut status.hooks, (HOOKS_MAX, HOOKS_BYTES), &hook, Clone::clone);
    Fitted { status, left_out }
}

/// The first `end` bytes of a text, or less: cut at a character.
pub(super) fn cut(text: &str, end: usize) -> &str {
    let mut end = text.len().min(end);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn shorten(message: &mut Option<String>) {
    if let Some(message) = message {
        message.truncate(cut(message, SHORT).len());
    }
}

/// The row as long as its rates and its completeness can make it.
fn widest(row: &NodeProfile) -> NodeProfile {
    let window = Window {
        events_per_second: LARGEST_RATE,
        limited_per_second: LARGEST_RATE,
        lost_per_second: LARGEST_RATE,
    };
    NodeProfile {
        incomplete: Some(ConditionReason::EventsMissed),
        window: Some(window),
        ..row.clone()
    }
}

/// Takes one step after the other until the rows fit, then drops the last ones. Returns how many it dropped.
fn rows<T: Serialize>(
    rows: &mut Vec<T>,
    (most_rows, most_bytes): (usize, usize),
    steps: &[fn(&mut T)],
    measured: fn(&T) -> T,
) -> usize {
    let all = rows.len();
    rows.truncate(most_rows);
    // A comma follows each. Our own types are always JSON.
    let bytes = |row: &T| serde_json::to_vec(&measured(row)).map_or(0, |json| json.len() + 1);
    let fits = |rows: &[T]| rows.iter().map(bytes).sum::<usize>() <= most_bytes;
    for step in steps {
        if fits(rows) {
            break;
        }
        rows.iter_mut().for_each(step);
    }
    let mut total = 0;
    let room = rows
        .iter()
        .take_while(|row| {
            total += bytes(row);
            total <= most_bytes
        })
        .count();
    rows.truncate(room);
    all - rows.len()
}

#[cfg(test)]
mod tests;
