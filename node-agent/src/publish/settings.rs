//! What the publisher has to know about a sink, free of where it was read from.

use std::path::PathBuf;
use std::sync::Arc;

use async_nats::ServerAddr;

pub use weir_events::Encoding;

use weir_runtime::stream::StreamSettings;

/// One sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkSettings {
    /// Its name; batches name it, and so do credential files.
    pub name: Arc<str>,
    /// First tokens of every subject, for the agent's own events.
    pub subject_prefix: Arc<str>,
    /// How messages are written.
    pub encoding: Encoding,
    /// Where they go.
    pub target: Target,
}

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `JetStream`.
    Nats(Box<NatsSettings>),
    /// Standard output: one message a line, or length-delimited protobuf.
    Stdout,
    /// A file that is appended to, in the same form.
    File(PathBuf),
}

/// A NATS sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// At least one server. A URL may carry a user and password or, as user alone, a token.
    pub servers: Vec<ServerUrl>,
    /// How TLS is done.
    pub tls: TlsSettings,
    /// Directory of `<sink>.<key>` files; see [`super::credentials`].
    pub credentials_dir: Option<PathBuf>,
    /// Whether the sink asks for credentials, so that their absence is worth waiting for.
    pub credentials_required: bool,
    /// The stream that must take the messages (`Nats-Expected-Stream`).
    pub stream: Option<String>,
    /// Creates the stream where it is missing, and grows it where it is smaller.
    pub ensure: Option<StreamSettings>,
    /// Whether payloads are compressed with zstd.
    pub compress: bool,
    /// Client name shown by the server's monitoring.
    pub client_name: String,
}

/// A server's address that compares and prints by its text.
#[derive(Debug, Clone)]
pub struct ServerUrl(pub ServerAddr);

impl PartialEq for ServerUrl {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_url_str() == other.0.as_url_str()
    }
}

impl Eq for ServerUrl {}

impl ServerUrl {
    /// Host and port, without credentials.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}:{}", self.0.host(), self.0.port())
    }
}

impl std::str::FromStr for ServerUrl {
    type Err = std::io::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// How TLS is done. Certificate files come from here or from the credentials directory (`<sink>.ca.crt`,
/// `<sink>.tls.crt`, `<sink>.tls.key`); they are read again at each connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Refuses to speak without TLS.
    pub required: bool,
    /// TLS from the first byte, instead of after the server's greeting.
    pub first: bool,
    /// Certificate authorities instead of the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate and key.
    pub client: Option<(PathBuf, PathBuf)>,
}
