//! nats-server with a file store of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child::Child;

/// A running server, gone with its store when this is dropped.
pub(crate) struct Server {
    url: String,
    child: Child,
    // After the child: fields are dropped in this order.
    _store: tempfile::TempDir,
}

impl Server {
    /// Starts it on a free loopback port.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let store = tempfile::Builder::new()
            .prefix("weir-bench.")
            .tempdir()
            .context("making a store")?;
        let mut command = Command::new(program);
        command.args([
            "--addr",
            "127.0.0.1",
            "--port",
            "-1",
            "--jetstream",
            "--store_dir",
        ]);
        command
            .arg(store.path().join("store"))
            .arg("--ports_file_dir")
            .arg(store.path());
        let mut child = Child::logged("nats-server", command, store.path())?;
        let url = child.until("it says where it listens", |_| listening(store.path()))?;
        Ok(Self {
            url,
            child,
            _store: store,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }
}

fn listening(directory: &Path) -> Result<Option<String>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "ports") {
            let text = fs::read_to_string(&path)?;
            // Half written files are looked at again.
            let ports = serde_json::from_str::<Value>(&text).ok();
            return Ok(ports.and_then(|ports| Some(ports["nats"][0].as_str()?.to_owned())));
        }
    }
    Ok(None)
}
