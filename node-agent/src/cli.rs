//! The command line.

use std::net::{AddrParseError, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::bpf::object::RING_BYTES;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Collects kernel events as profiles say, and accounts for every one.
#[derive(Debug, Parser)]
#[command(name = "weir-agent", version, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect: from profile files on one host, or as a node's agent in a cluster.
    ///
    /// Exit code 0 after SIGTERM or --duration, 64 for a bad configuration, 1 for a failure. SIGHUP and changes of
    /// the files are applied without a gap; a bad edit keeps the last good profile.
    Run(Box<RunArgs>),
    /// Say which hooks and kinds work on this kernel, through which hook, or why not.
    Probe {
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Check profile files without running them. Exit code 64 if anything is wrong.
    Check {
        /// Files of `CollectorProfile`s and `CollectorSink`s, several documents each.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The sink that `run` will be given, for profiles that name none of the files'.
        #[arg(long, value_name = "URL")]
        sink: Option<String>,
    },
}

/// How `probe` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Profile file; may be given several times. Several documents per file, sinks in them too.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "in_cluster",
        conflicts_with = "in_cluster"
    )]
    pub profile: Vec<PathBuf>,
    /// Take profiles, sinks and pods from the API server of the cluster this agent runs in.
    #[arg(long)]
    pub in_cluster: bool,
    /// Send everything to this sink instead of what profiles name: `stdout`, `file:PATH` or
    /// `nats://HOST:PORT[?stream=NAME]`.
    #[arg(long, value_name = "URL", conflicts_with = "in_cluster")]
    pub sink: Option<String>,
    /// Name of this node in events; the host's name by default.
    #[arg(long, value_name = "NAME", env = "WEIR_NODE_NAME", value_parser = name)]
    pub node: Option<String>,
    /// Name of the cluster in events.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "local",
        env = "WEIR_CLUSTER",
        value_parser = name
    )]
    pub cluster: String,
    /// Where events come from: the kernel, or a generator of RATE events per second for load tests. Generated events
    /// are marked synthetic.
    #[arg(long, value_name = "kernel|synthetic:RATE", default_value = "kernel")]
    pub source: SourceArg,
    /// Address of /livez, /readyz, /metrics and /ledger. Port 0 takes a free one, which is logged.
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:9477",
        env = "WEIR_ADMIN_ADDR",
        value_parser = admin_address
    )]
    pub admin: SocketAddr,
    /// Stop by itself after this long, such as 90s or 5m.
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// How long the end may take after SIGTERM: until then batches are delivered, and what is left is counted as shed.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 5,
        value_parser = clap::value_parser!(u16).range(2..=600)
    )]
    pub grace: u16,
    /// The node's cgroup root, where several nodes share this kernel; found by itself otherwise.
    #[arg(long, value_name = "PATH")]
    pub cgroup_root: Option<PathBuf>,
    /// Where epoch and counters are remembered. /var/lib/weir for root.
    #[arg(long, value_name = "PATH", env = "WEIR_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where sinks' credential files are: SINK.creds, SINK.ca.crt, SINK.tls.crt, SINK.tls.key.
    #[arg(long, value_name = "PATH", env = "WEIR_CREDENTIALS_DIR")]
    pub credentials_dir: Option<PathBuf>,
    /// Size of the bulk ring in bytes, a power of two from 65536 to 268435456.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20, value_parser = ring_bytes)]
    pub ring_bytes: u32,
    /// Entries of the kernel's table of paths, both sides of the configuration together, where it is to be smaller than
    /// any profile needs: so that tests can fill it.
    #[arg(long, value_name = "ENTRIES", hide = true)]
    pub match_paths: Option<u32>,
}

/// `--node` or `--cluster` that could not stand in a message's id and headers.
#[derive(Debug, thiserror::Error)]
#[error("expected 1 to {NAME_BYTES} bytes without '/', white space and control characters")]
struct NameError;

/// As long as a DNS name, which is what Kubernetes calls its nodes.
const NAME_BYTES: usize = 253;

fn name(text: &str) -> Result<String, NameError> {
    let fits = (1..=NAME_BYTES).contains(&text.len());
    let plain = !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    (fits && plain).then(|| text.to_owned()).ok_or(NameError)
}

/// `--ring-bytes` that no ring can have.
#[derive(Debug, thiserror::Error)]
#[error("expected a power of two from 65536 to 268435456")]
struct RingBytesError;

/// An address with its port. A pod's own address comes without brackets, also when it is an IPv6 one.
fn admin_address(text: &str) -> Result<SocketAddr, AddrParseError> {
    text.parse().or_else(|error| match text.rsplit_once(':') {
        Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}").parse(),
        _ => Err(error),
    })
}

fn ring_bytes(text: &str) -> Result<u32, RingBytesError> {
    let bytes: u32 = text.parse().map_err(|_no_number| RingBytesError)?;
    if bytes.is_power_of_two() && RING_BYTES.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(RingBytesError)
    }
}

/// `--source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceArg {
    /// The kernel.
    Kernel,
    /// A generator, events per second.
    Synthetic(u32),
}

/// `--source` that is neither.
#[derive(Debug, thiserror::Error)]
#[error("expected `kernel` or `synthetic:RATE` with a RATE from 1 to 10000000 events per second")]
pub struct SourceArgError;

impl FromStr for SourceArg {
    type Err = SourceArgError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "kernel" {
            return Ok(Self::Kernel);
        }
        let rate = text.strip_prefix("synthetic:").and_then(|rate| rate.parse().ok());
        rate.filter(|rate| (1..=10_000_000).contains(rate))
            .map(Self::Synthetic)
            .ok_or(SourceArgError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_of_another_word_or_rate_is_refused() {
        assert_eq!("kernel".parse::<SourceArg>().ok(), Some(SourceArg::Kernel));
        assert_eq!(
            "synthetic:5".parse::<SourceArg>().ok(),
            Some(SourceArg::Synthetic(5))
        );
        for bad in [
            "",
            "synthetic",
            "synthetic:0",
            "synthetic:10000001",
            "synthetic:-1",
            "kernels",
        ] {
            assert!(bad.parse::<SourceArg>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ring_of_an_impossible_size_is_refused() {
        for good in ["65536", "4194304", "268435456"] {
            assert!(ring_bytes(good).is_ok(), "{good}");
        }
        for bad in ["", "0", "4096", "65537", "70000", "536870912", "-65536", "4MiB"] {
            assert!(ring_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn names_that_would_break_an_id_or_a_header_are_refused() {
        for good in ["node-1.example", "local", "Großrechner", &"n".repeat(253)] {
            assert!(name(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            "a/b",
            "a b",
            "a\r\nNats-Msg-Id: x",
            "a\u{7f}",
            &"n".repeat(254),
        ] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn admin_address_of_a_pod_needs_no_brackets() {
        for (text, expected) in [
            ("10.0.0.1:9464", "10.0.0.1:9464"),
            ("fd00::1:9464", "[fd00::1]:9464"),
            ("[fd00::1]:9464", "[fd00::1]:9464"),
        ] {
            assert_eq!(admin_address(text).unwrap(), expected.parse().unwrap(), "{text}");
        }
        assert!(admin_address("nowhere:9464").is_err());
    }
}
