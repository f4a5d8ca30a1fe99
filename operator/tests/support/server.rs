//! A real nats-server with a store of its own, killed when the test ends.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const INSTALLED: &str = ".cache/weir/tools/nats-server-2.15.1/bin/nats-server";
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The server's binary. Without one the test fails in CI and says loudly elsewhere that it proves nothing.
fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("WEIR_NATS_SERVER").map(PathBuf::from);
    let installed = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(INSTALLED));
    let found = named.into_iter().chain(installed).find(|path| path.is_file());
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

pub(crate) struct Server {
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Server {
    /// A server that listens. `config` is added to its configuration; `jetstream` alone turns it on.
    pub(crate) fn start(config: &str) -> Option<Self> {
        let binary = binary()?;
        let dir = tempfile::tempdir().expect("makes a directory");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("finds a free port")
            .port();
        let config = if config == "jetstream" {
            "jetstream: enabled"
        } else {
            config
        };
        let (file, log) = (dir.path().join("server.conf"), dir.path().join("log"));
        std::fs::write(&file, format!("listen: 127.0.0.1:{port}\n{config}\n")).expect("writes");
        let child = Command::new(binary)
            .args([
                "-c".as_ref(),
                file.as_os_str(),
                "-sd".as_ref(),
                dir.path().as_os_str(),
            ])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("makes a log"))
            .spawn()
            .expect("nats-server starts");
        let server = Self {
            child,
            port,
            _dir: dir,
        };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "nats-server does not listen: {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
