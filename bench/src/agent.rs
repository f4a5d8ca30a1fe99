//! The agent under measurement: the release binary, run as a user runs it, asked through its admin server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::child::Child;
use crate::procfs::{self, Memory};

const TIMEOUT: Duration = Duration::from_secs(10);
const PROFILE_FILE: &str = "profile.yaml";
/// The cluster and node that its events name.
const NAMES: [&str; 4] = ["--node", "bench-node", "--cluster", "bench"];

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    admin: SocketAddr,
    generation: u64,
    // After the child: fields are dropped in this order.
    directory: tempfile::TempDir,
}

impl Agent {
    /// Starts it and waits until the profile runs.
    pub(crate) fn start(program: &Path, profile: &str, arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("weir-bench.")
            .tempdir()
            .context("making a directory")?;
        let file = directory.path().join(PROFILE_FILE);
        fs::write(&file, profile).context("writing the profile")?;
        let admin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .context("looking for a free port")?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--profile")
            .arg(&file)
            .arg("--state-dir")
            .arg(directory.path().join("state"));
        command
            .args(NAMES)
            .args(["--admin", &admin.to_string()])
            .args(arguments);
        let mut child = Child::logged("weir-agent", command, directory.path())?;
        child.until("its profile runs and its sink is connected", |_| {
            let (code, body) = get(admin, "/readyz")?;
            let runs =
                code == 200 && !body.contains("[!]") && get(admin, "/ledger")?.1.contains("\"generation\"");
            if runs {
                Ok(Some(()))
            } else {
                bail!("/readyz says {code}: {body}")
            }
        })?;
        Ok(Self {
            child,
            admin,
            generation: 1,
            directory,
        })
    }

    /// Edits its profile, which must differ from the one that runs, and waits until the edit runs.
    pub(crate) fn edit(&mut self, profile: &str) -> Result<()> {
        fs::write(self.directory.path().join(PROFILE_FILE), profile).context("editing the profile")?;
        self.generation += 1;
        let (admin, wanted) = (self.admin, self.generation);
        self.child.until("the edit runs", |_| {
            let ledger: Value = serde_json::from_str(&get(admin, "/ledger")?.1)?;
            let profiles = ledger["profiles"].as_array().into_iter().flatten();
            let newest = profiles
                .filter_map(|profile| profile["generation"].as_u64())
                .max();
            Ok((newest >= Some(wanted)).then_some(()))
        })
    }

    /// Has it cut its ledger now.
    pub(crate) fn cut(&self) -> Result<Cut> {
        let (status, body) = get(self.admin, "/ledger?cut=now")?;
        ensure!(status == 200, "GET /ledger?cut=now: status {status}: {body}");
        let ledger: Value =
            serde_json::from_str(&body).with_context(|| format!("reading the ledger: {body}"))?;
        let time: jiff::Timestamp = ledger["cut"]["time"]
            .as_str()
            .context("the cut has no time")?
            .parse()
            .context("reading the cut's time")?;
        Ok(Cut {
            ledger,
            seconds: time.as_duration().as_secs_f64(),
        })
    }

    /// Cuts until nothing is under way.
    pub(crate) fn settled(&mut self) -> Result<Cut> {
        let (admin, mut last) = (self.admin, None);
        self.child.until("everything is acknowledged", |_| {
            let (_, body) = get(admin, "/ledger?cut=now")?;
            last = Some(body);
            let ledger: Value = serde_json::from_str(last.as_deref().unwrap_or_default())?;
            let cut = Cut { ledger, seconds: 0.0 };
            let waits: u64 = ["held", "queued", "unacked"]
                .iter()
                .map(|name| cut.total(name))
                .sum();
            if waits == 0 {
                Ok(Some(cut))
            } else {
                bail!("{waits} events wait")
            }
        })
    }

    /// One of its metrics, summed over the label sets whose text contains `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &str) -> Result<f64> {
        let (_, body) = get(self.admin, "/metrics")?;
        Ok(sum(&body, name, labels))
    }

    /// The upper bound, in ms, of the histogram bucket of `ack_duration` in which the quantile lies.
    pub(crate) fn ack_ms(&self, quantile: f64) -> Result<Option<f64>> {
        let (_, body) = get(self.admin, "/metrics")?;
        Ok(bucket(&body, "weir_agent_publish_ack_duration_seconds", quantile).map(|seconds| seconds * 1e3))
    }

    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        procfs::cpu_ns(self.child.pid())
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        procfs::memory(self.child.pid())
    }

    /// Ends it by SIGTERM.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.child.end(Signal::TERM)
    }
}

/// A ledger at a cut.
pub(crate) struct Cut {
    ledger: Value,
    /// When, seconds since 1970.
    pub(crate) seconds: f64,
}

impl Cut {
    /// A count of one event.
    pub(crate) fn count(&self, event: &str, name: &str) -> u64 {
        self.slots()
            .filter(|slot| slot["event"] == event)
            .filter_map(|slot| slot[name].as_u64())
            .sum()
    }

    /// A count over all events.
    pub(crate) fn total(&self, name: &str) -> u64 {
        self.slots().filter_map(|slot| slot[name].as_u64()).sum()
    }

    /// Everything that was admitted and did not arrive, for whatever reason.
    pub(crate) fn lost(&self) -> u64 {
        ["ring_full", "malformed", "shed", "rejected"]
            .iter()
            .map(|name| self.total(name))
            .sum()
    }

    fn slots(&self) -> impl Iterator<Item = &Value> {
        let profiles = self.ledger["profiles"].as_array().into_iter().flatten();
        profiles.flat_map(|profile| profile["slots"].as_array().into_iter().flatten())
    }
}

fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut stream =
        TcpStream::connect_timeout(&address, TIMEOUT).context("connecting to the admin server")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // HTTP/1.0: the body ends with the connection and is never chunked.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: agent\r\n\r\n")?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .with_context(|| format!("GET {path}"))?;
    let parsed = text
        .split_once("\r\n\r\n")
        .and_then(|(head, body)| Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned())));
    parsed.with_context(|| format!("GET {path}: not an HTTP answer: {text:?}"))
}

/// Label text and value of each sample of one metric.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let whole = labels.is_empty() || labels.starts_with('{');
        whole
            .then(|| value.parse().ok().map(|value| (labels, value)))
            .flatten()
    })
}

fn sum(text: &str, name: &str, labels: &str) -> f64 {
    samples(text, name)
        .filter(|(found, _)| found.contains(labels))
        .map(|(_, value)| value)
        .sum()
}

fn bucket(text: &str, name: &str, quantile: f64) -> Option<f64> {
    let count = sum(text, &format!("{name}_count"), "");
    samples(text, &format!("{name}_bucket"))
        .filter_map(|(labels, value)| {
            let le = labels.split("le=\"").nth(1)?.split('"').next()?;
            Some((le.parse::<f64>().ok()?, value))
        })
        .find(|(_, value)| count > 0.0 && *value >= quantile * count)
        .map(|(le, _)| le)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# TYPE a_total counter\na_total{x=\"1\",y=\"p\"} 3\na_total{x=\"2\",y=\"p\"} 4\n\
        a_total_other 9\nd_seconds_count{s=\"n\"} 100\nd_seconds_bucket{le=\"0.001\",s=\"n\"} 49\n\
        d_seconds_bucket{le=\"0.002\",s=\"n\"} 99\nd_seconds_bucket{le=\"+Inf\",s=\"n\"} 100\n";

    #[test]
    fn sum_of_matching_labels_only() {
        assert_eq!(sum(METRICS, "a_total", "y=\"p\"").to_string(), "7");
        assert_eq!(sum(METRICS, "a_total", "x=\"2\"").to_string(), "4");
    }

    #[test]
    fn bucket_holds_the_quantile() {
        assert_eq!(bucket(METRICS, "d_seconds", 0.5), Some(0.002));
        assert_eq!(bucket(METRICS, "d_seconds", 0.999), Some(f64::INFINITY));
        assert_eq!(bucket(METRICS, "none", 0.5), None);
    }
}
