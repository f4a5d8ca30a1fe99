//! nats-server with `JetStream`: free loopback ports, a store in the scratch directory.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::Process;

const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running server; it ends when this is dropped.
pub(super) struct Server {
    url: String,
    address: SocketAddr,
    _process: Process,
}

impl Server {
    /// Starts it and waits until it has said where it listens.
    pub(super) fn start(program: &Path, scratch: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        // Port -1 is any free one; the server writes the one it got to a file.
        command.args([
            "--addr",
            "127.0.0.1",
            "--port",
            "-1",
            "--jetstream",
            "--store_dir",
        ]);
        command
            .arg(scratch.join("jetstream"))
            .arg("--ports_file_dir")
            .arg(scratch);
        let mut process = Process::start("nats-server", command, scratch)?;
        let deadline = Instant::now() + START_TIMEOUT;
        let url = loop {
            process.check()?;
            if let Some(url) = ports_file(scratch)? {
                break url;
            }
            if Instant::now() >= deadline {
                bail!("nats-server did not say where it listens\n{}", process.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        };
        let address = url.strip_prefix("nats://").unwrap_or(&url);
        let address = address
            .parse()
            .with_context(|| format!("nats-server says it listens on {url}"))?;
        Ok(Self {
            url,
            address,
            _process: process,
        })
    }

    /// As clients write it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn ports_file(directory: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ports") {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            // Half written files are looked at again.
            let ports = serde_json::from_str::<Value>(&text).ok();
            return Ok(ports.and_then(|ports| Some(ports["nats"][0].as_str()?.to_owned())));
        }
    }
    Ok(None)
}
