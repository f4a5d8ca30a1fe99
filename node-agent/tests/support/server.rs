//! A real nats-server with a store of its own, killed when the test ends.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use async_nats::Client;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, Context};
use tempfile::TempDir;

use crate::wait::until;

const VERSION_DIR: &str = ".cache/weir/tools/nats-server-2.15.1/bin/nats-server";

/// The server's binary. Without one the test fails in CI and says loudly elsewhere that it proves nothing.
pub fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("WEIR_NATS_SERVER").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path)
            .map(|dir| dir.join("nats-server"))
            .collect::<Vec<_>>()
    });
    let installed = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(VERSION_DIR));
    let found = named
        .into_iter()
        .chain(on_path)
        .chain(installed)
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no nats-server: set WEIR_NATS_SERVER, or run `cargo xtask test`, which installs it"
        );
        eprintln!(
            "SKIPPED, nothing is proven: no nats-server; set WEIR_NATS_SERVER or run `cargo xtask test`"
        );
    }
    found
}

pub struct Server {
    binary: PathBuf,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// A server that is configured and not yet running. `config` is added to its configuration.
    pub fn prepare(config: &str) -> Option<Self> {
        let binary = binary()?;
        let dir = tempfile::tempdir().expect("makes a directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("finds a free port")
            .port();
        let server = Self {
            binary,
            dir,
            port,
            child: None,
        };
        server.configure(config);
        Some(server)
    }

    pub async fn start(config: &str) -> Option<Self> {
        let mut server = Self::prepare(config)?;
        server.run().await;
        Some(server)
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("server.conf")
    }

    pub fn configure(&self, config: &str) {
        let store = self.dir.path().join("store");
        let text = format!(
            "listen: 127.0.0.1:{}\njetstream {{ store_dir: {:?} }}\n{config}\n",
            self.port,
            store.display().to_string()
        );
        fs::write(self.config_path(), text).expect("writes the configuration");
    }

    pub async fn run(&mut self) {
        let log = fs::File::create(self.dir.path().join("log")).expect("makes a log");
        let child = Command::new(&self.binary)
            .arg("-c")
            .arg(self.config_path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server starts");
        self.child = Some(child);
        let port = self.port;
        until("nats-server listens", || {
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        })
        .await;
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("kills");
            child.wait().expect("ends");
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn client(&self) -> Client {
        async_nats::connect(self.url())
            .await
            .expect("the test's own client connects")
    }

    pub async fn jetstream(&self) -> Context {
        jetstream::new(self.client().await)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

pub async fn create_stream(jetstream: &Context, name: &str, subjects: &[&str]) -> Stream {
    let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
    let config = Config {
        name: name.to_owned(),
        subjects,
        ..Config::default()
    };
    jetstream.create_stream(config).await.expect("creates the stream")
}

/// One stored message.
#[derive(Debug, Clone)]
pub struct Stored {
    pub subject: String,
    pub id: String,
    pub encoding: Option<String>,
    pub content_type: Option<String>,
    pub payload: Vec<u8>,
}

/// Everything in the stream, in its order.
pub async fn stored(jetstream: &Context, name: &str) -> Vec<Stored> {
    let mut stream = jetstream.get_stream(name).await.expect("the stream is there");
    let last = stream.info().await.expect("has state").state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        let message = stream
            .get_raw_message(sequence)
            .await
            .expect("the message is there");
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned());
        messages.push(Stored {
            subject: message.subject.to_string(),
            id: header("Nats-Msg-Id").unwrap_or_default(),
            encoding: header("content-encoding"),
            content_type: header("content-type"),
            payload: message.payload.to_vec(),
        });
    }
    messages
}
