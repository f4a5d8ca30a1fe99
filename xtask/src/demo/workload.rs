//! A small real workload: programs start and end, files are opened, connections are made, one flood.
//!
//! It runs in a process of its own, and everything it does it does for real. Only what it says about the flood is
//! used to check the agent.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, process};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How directories that the profile's `flood` event watches begin, in `/tmp`.
pub(super) const FLOOD_PREFIX: &str = "weir-flood.";
/// The profile's limit on the flood, in events per second.
pub(super) const FLOOD_RATE: u64 = 100;
/// The profile's burst for the flood.
pub(super) const FLOOD_BURST: u64 = 100;

/// Opens in the flood; with [`FLOOD_PAUSE_EVERY`] it lasts some seconds.
const FLOOD_OPENS: u64 = 50_000;
/// After so many opens the flood pauses for a millisecond, so that it lasts longer than the burst.
const FLOOD_PAUSE_EVERY: u64 = 20;
const FLOOD_FILES: u64 = 8;
/// Time between two rounds of small deeds.
const ROUND: Duration = Duration::from_millis(800);

const PROGRAMS: [&[&str]; 6] = [
    &["uname", "-r"],
    &["cat", "/etc/hostname", "/etc/os-release"],
    &["sh", "-c", "exit 3"],
    &["sleep", "0.1"],
    &["sh", "-c", "kill -TERM $$"],
    &["head", "-c", "1", "/etc/passwd", "/etc/no-such-file"],
];

/// Arguments of the hidden command that is the workload's process.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to go on
    #[arg(long)]
    seconds: u64,
    /// A directory whose files are opened by the flood
    #[arg(long)]
    flood: PathBuf,
    /// Something that listens
    #[arg(long)]
    connect: SocketAddr,
}

/// What the workload did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Made {
    /// Opens in the flood.
    pub(super) flood_opens: u64,
    /// From before its first open until after its last.
    pub(super) flood_time: Duration,
}

/// The workload's process, seen from the demo.
pub(super) struct Workload {
    child: Child,
}

impl Workload {
    /// Starts it. `flood` is from [`flood_directory`], `connect` is an address where something listens.
    pub(super) fn start(duration: Duration, connect: SocketAddr, flood: &Path) -> Result<Self> {
        let mut command = Command::new(env::current_exe().context("looking for our own program")?);
        command.args([
            "workload",
            "--seconds",
            &duration.as_secs().to_string(),
            "--connect",
            &connect.to_string(),
        ]);
        command.arg("--flood").arg(flood);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let child = command.spawn().context("starting the workload")?;
        Ok(Self { child })
    }

    /// Whether it is still at work.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        Ok(self
            .child
            .try_wait()
            .context("waiting for the workload")?
            .is_none())
    }

    /// What it did, once it has ended.
    pub(super) fn finish(mut self) -> Result<Made> {
        let stdout = self
            .child
            .stdout
            .take()
            .context("the workload's output is already read")?;
        let text = io::read_to_string(stdout).context("reading what the workload did")?;
        let status = self.child.wait().context("waiting for the workload")?;
        if !status.success() {
            bail!("the workload failed: {status}");
        }
        Made::parse(&text)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let ended = self.child.kill().and_then(|()| self.child.wait());
            if let Err(error) = ended {
                eprintln!("cleaning up: ending the workload: {error}");
            }
        }
    }
}

impl Made {
    fn parse(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).context("reading what the workload did")?;
        let number = |name: &str| {
            value[name]
                .as_u64()
                .with_context(|| format!("the workload says no {name}"))
        };
        Ok(Self {
            flood_opens: number("opens")?,
            flood_time: Duration::from_nanos(number("nanos")?),
        })
    }
}

/// When the flood begins, in a workload that takes `duration`.
pub(super) fn flood_begins(duration: Duration) -> Duration {
    duration / 3
}

/// The workload's process.
pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(args.seconds);
    let flood_at = start + flood_begins(Duration::from_secs(args.seconds));
    let mut flood = None;
    let mut round = 0;
    while Instant::now() < end {
        if flood.is_none() && Instant::now() >= flood_at {
            flood = Some(make_flood(&args.flood)?);
        }
        start_program(PROGRAMS[round % PROGRAMS.len()])?;
        connect(round, args.connect)?;
        round += 1;
        thread::sleep(ROUND.min(end.saturating_duration_since(Instant::now())));
    }
    let (opens, time) = flood.context("the time was too short for the flood")?;
    println!(
        "{}",
        json!({"opens": opens, "nanos": u64::try_from(time.as_nanos())?, "pid": process::id()})
    );
    Ok(())
}

fn start_program(words: &[&str]) -> Result<()> {
    let mut command = Command::new(words[0]);
    // Some of them fail on purpose.
    let child = command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let status = child.and_then(|mut child| child.wait());
    status.map(drop).with_context(|| format!("running {}", words[0]))
}

fn connect(round: usize, listening: SocketAddr) -> Result<()> {
    let refused = |address: SocketAddr| match TcpStream::connect(address) {
        // Nobody listens there; a machine without IPv6 says so in its own way.
        Err(_) => Ok(()),
        Ok(_) => bail!("something listens on {address}, which was free a moment ago"),
    };
    match round % 3 {
        0 => TcpStream::connect(listening)
            .map(drop)
            .with_context(|| format!("connecting to {listening}")),
        1 => refused(free_port(SocketAddr::from(([127, 0, 0, 1], 0)))?),
        _ => match free_port(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))) {
            Ok(address) => refused(address),
            Err(error) if matches!(error.kind(), ErrorKind::AddrNotAvailable | ErrorKind::Unsupported) => {
                Ok(())
            }
            Err(error) => Err(error).context("looking for a free IPv6 port"),
        },
    }
}

fn free_port(any: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(any)?.local_addr()
}

fn make_flood(directory: &Path) -> Result<(u64, Duration)> {
    let paths: Vec<_> = (0..FLOOD_FILES)
        .map(|number| flood_file(directory, number))
        .collect();
    let start = Instant::now();
    for (number, path) in (0..FLOOD_OPENS).zip(paths.iter().cycle()) {
        File::open(path).with_context(|| format!("opening {}", path.display()))?;
        if number % FLOOD_PAUSE_EVERY == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok((FLOOD_OPENS, start.elapsed()))
}

/// Makes the files that the flood opens. To be called before the agent looks, and kept until it has stopped: making
/// and removing them are opens too.
pub(super) fn flood_directory() -> Result<tempfile::TempDir> {
    // In /tmp and nowhere else: the profile names it.
    let directory = tempfile::Builder::new()
        .prefix(FLOOD_PREFIX)
        .tempdir_in("/tmp")
        .context("making a directory")?;
    for number in 0..FLOOD_FILES {
        let path = flood_file(directory.path(), number);
        fs::write(&path, b"").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(directory)
}

fn flood_file(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("file-{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_what_the_workload_prints() {
        let made = Made::parse("{\"opens\":50000,\"nanos\":2500000000,\"pid\":7}\n").expect("parses");
        assert_eq!(
            made,
            Made {
                flood_opens: 50_000,
                flood_time: Duration::from_millis(2500)
            }
        );
        assert!(Made::parse("{\"opens\":1}").is_err());
    }
}
