//! How large the fleet is, and how the waits follow from it, so that it never acts in step.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// File of the mounted Secret with the number of nodes, as a power of ten. Sinks' files have a dot, this has none.
pub const FLEET_FILE: &str = "fleet-size";
/// What a fleet is taken for that does not say.
const DEFAULT_NODES: u32 = 100;
/// Nobody's fleet is larger; a damaged file must not stop the agent for a day.
const MAX_NODES: u32 = 100_000;
/// Longest wait of a small fleet's agent.
const RETRY_CAP: Duration = Duration::from_secs(5);

/// A fleet's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fleet {
    /// Nodes, by order of magnitude.
    pub nodes: u32,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { nodes: DEFAULT_NODES }
    }
}

impl Fleet {
    /// From the mounted Secret; the default when it is not there or makes no sense.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        fs::read_to_string(directory.join(FLEET_FILE))
            .map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        text.trim().parse().map_or_else(
            |_| Self::default(),
            |nodes: u32| Self {
                nodes: nodes.clamp(1, MAX_NODES),
            },
        )
    }

    /// Waits before a GET that the whole fleet will make, and before a write that a sink's trouble causes on all of
    /// it: nodes x 2 ms, times `jitter` of `u32::MAX`.
    #[must_use]
    pub fn spread(self, jitter: u32) -> Duration {
        share(Duration::from_millis(2) * self.nodes, jitter)
    }

    /// Longest wait before what failed is tried again: short, so that the node is current soon after the API server's
    /// return, and longer for a large fleet, which must not keep a server down that is starting.
    #[must_use]
    pub fn retry_cap(self) -> Duration {
        RETRY_CAP.max(Duration::from_millis(2) * self.nodes)
    }

    /// Least time between two writes that only rates cause.
    #[must_use]
    pub fn rate_interval(self) -> Duration {
        Duration::from_mins(1).max(Duration::from_millis(20) * self.nodes)
    }

    /// Between two looks at the own Node's labels.
    #[must_use]
    pub fn node_interval(self, jitter: u32) -> Duration {
        let least = Duration::from_secs(30).max(Duration::from_millis(20) * self.nodes);
        least + share(least / 2, jitter)
    }

    /// Between two readings of the own `CollectorNode`: 5 to 10 minutes.
    #[must_use]
    pub fn reread_interval(self, jitter: u32) -> Duration {
        Duration::from_mins(5) + share(Duration::from_mins(5), jitter)
    }
}

/// Seconds after which the API server ends a watch: 180 to 290, so that a fleet's watches do not end together.
#[must_use]
pub fn watch_timeout_seconds(jitter: u32) -> u32 {
    180 + jitter % 111
}

fn share(whole: Duration, jitter: u32) -> Duration {
    whole.mul_f64(f64::from(jitter) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_nonsense_is_the_default_and_size_is_bounded() {
        assert_eq!(Fleet::parse("1000\n").nodes, 1_000);
        assert_eq!(Fleet::parse("many"), Fleet::default());
        assert_eq!(Fleet::parse("0").nodes, 1);
        assert_eq!(Fleet::parse("4000000000").nodes, MAX_NODES);
        assert_eq!(Fleet::read(Path::new("/nonexistent")), Fleet::default());
    }

    #[test]
    fn waits_grow_with_the_fleet_and_jitter_spreads_them() {
        let large = Fleet { nodes: 10_000 };
        assert_eq!(large.spread(0), Duration::ZERO);
        assert_eq!(large.spread(u32::MAX), Duration::from_secs(20));
        assert_eq!(large.rate_interval(), Duration::from_secs(200));
        assert_eq!(Fleet { nodes: 10 }.rate_interval(), Duration::from_mins(1));
        assert_eq!(large.retry_cap(), Duration::from_secs(20));
        assert_eq!(Fleet { nodes: 10 }.retry_cap(), Duration::from_secs(5));
        for jitter in [0, 1, 12_345, u32::MAX] {
            assert!((180..=290).contains(&watch_timeout_seconds(jitter)));
            let reread = large.reread_interval(jitter).as_secs();
            assert!((300..=600).contains(&reread), "{reread}");
        }
    }
}
