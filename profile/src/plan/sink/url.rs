//! The URLs of `--sink`.

use crate::api::{Compression, Encoding, Manage, Storage};
use crate::plan::sink::{
    BatchPlan, DEFAULT_STREAM, DEFAULT_SUBJECT_PREFIX, NatsTarget, SinkPlan, SinkTarget, StreamPlan, TlsPlan,
};

/// Name of a sink that came from the command line.
pub(super) const CLI_SINK: &str = "cli";
const DEFAULT_PORT: u16 = 4222;

/// Why a sink URL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkUrlError {
    /// Not one of the known forms.
    #[error("{0:?} is no sink; use nats://HOST:PORT[,HOST:PORT]?stream=NAME, stdout or file:PATH")]
    Scheme(String),
    /// `file:` without a path.
    #[error("file: needs a path, such as file:/var/tmp/events.jsonl")]
    NoPath,
    /// One of the servers cannot be an address.
    #[error("server {server:?}: {problem}")]
    Server {
        /// As given.
        server: String,
        /// Why, and the remedy.
        problem: String,
    },
    /// A user or password in the URL would show up in process lists and logs.
    #[error("the URL holds a user or password; put NATS credentials into --credentials-dir instead")]
    Credentials,
    /// A parameter that no sink has.
    #[error(
        "unknown parameter {0:?}; known are stream, prefix, manage, storage, encoding, compression, linger"
    )]
    UnknownParameter(String),
    /// A parameter with a value that it cannot have.
    #[error("parameter {name}={value:?}: {problem}")]
    Parameter {
        /// Which one.
        name: &'static str,
        /// As given.
        value: String,
        /// Why, and the remedy.
        problem: &'static str,
    },
}

pub(super) fn parse(url: &str) -> Result<SinkPlan, SinkUrlError> {
    if url == "stdout" {
        return Ok(SinkPlan::to(CLI_SINK, SinkTarget::Stdout));
    }
    if let Some(path) = url.strip_prefix("file:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(SinkUrlError::NoPath);
        }
        return Ok(SinkPlan::to(CLI_SINK, SinkTarget::File(path.into())));
    }
    let Some((scheme, rest)) = url
        .split_once("://")
        .filter(|(scheme, _)| ["nats", "tls"].contains(scheme))
    else {
        return Err(SinkUrlError::Scheme(url.to_owned()));
    };
    let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
    if hosts.contains('@') {
        return Err(SinkUrlError::Credentials);
    }
    let servers = hosts
        .trim_end_matches('/')
        .split(',')
        .map(|host| server(scheme, host))
        .collect::<Result<_, _>>()?;
    let nats = NatsTarget {
        servers,
        tls: TlsPlan {
            required: scheme == "tls",
            ..TlsPlan::default()
        },
        credentials: None,
        subject_prefix: DEFAULT_SUBJECT_PREFIX.to_owned(),
        stream: StreamPlan::named(DEFAULT_STREAM),
    };
    let mut parameters = Parameters {
        nats,
        encoding: Encoding::Json,
        compression: Compression::None,
        linger_ms: None,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        parameters.set(name, value)?;
    }
    let Parameters {
        nats,
        encoding,
        compression,
        linger_ms,
    } = parameters;
    let mut sink = SinkPlan::to(CLI_SINK, SinkTarget::Nats(nats));
    sink.encoding = encoding;
    sink.compression = compression;
    sink.batch.linger_ms = linger_ms.unwrap_or(BatchPlan::default().linger_ms);
    Ok(sink)
}

struct Parameters {
    nats: NatsTarget,
    encoding: Encoding,
    compression: Compression,
    linger_ms: Option<u32>,
}

impl Parameters {
    fn set(&mut self, name: &str, value: &str) -> Result<(), SinkUrlError> {
        let stream = &mut self.nats.stream;
        match name {
            "stream" if is_token(value) && value.len() <= 64 => value.clone_into(&mut stream.name),
            "stream" => return Err(wrong("stream", value, "use 1 to 64 letters, digits, '-' and '_'")),
            "prefix" if value.len() <= 64 && value.split('.').all(is_token) => {
                value.clone_into(&mut self.nats.subject_prefix);
            }
            "prefix" => {
                return Err(wrong(
                    "prefix",
                    value,
                    "use letters, digits, '-' and '_', tokens separated by dots",
                ));
            }
            "manage" => {
                let known = "use Ensure or External";
                stream.manage = choose("manage", value, Manage::ALL, Manage::as_str, known)?;
            }
            "storage" => {
                let known = "use File or Memory";
                stream.storage = choose("storage", value, Storage::ALL, Storage::as_str, known)?;
            }
            "encoding" => {
                self.encoding = choose(
                    "encoding",
                    value,
                    Encoding::ALL,
                    Encoding::as_str,
                    "use Json or Protobuf",
                )?;
            }
            "compression" => {
                self.compression = choose(
                    "compression",
                    value,
                    Compression::ALL,
                    Compression::as_str,
                    "use None or Zstd",
                )?;
            }
            "linger" => {
                let linger = value.parse().ok().filter(|linger| (1..=1000).contains(linger));
                self.linger_ms =
                    Some(linger.ok_or_else(|| wrong("linger", value, "use 1 to 1000 milliseconds"))?);
            }
            other => return Err(SinkUrlError::UnknownParameter(other.to_owned())),
        }
        Ok(())
    }
}

fn wrong(name: &'static str, value: &str, problem: &'static str) -> SinkUrlError {
    SinkUrlError::Parameter {
        name,
        value: value.to_owned(),
        problem,
    }
}

fn choose<T: Copy>(
    name: &'static str,
    value: &str,
    all: &[T],
    text: impl Fn(T) -> &'static str,
    problem: &'static str,
) -> Result<T, SinkUrlError> {
    all.iter()
        .copied()
        .find(|choice| text(*choice).eq_ignore_ascii_case(value))
        .ok_or_else(|| wrong(name, value, problem))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn server(scheme: &str, host: &str) -> Result<String, SinkUrlError> {
    let error = |problem: String| SinkUrlError::Server {
        server: host.to_owned(),
        problem,
    };
    // A list may repeat the scheme: nats://a:4222,nats://b:4222.
    let bare = host
        .strip_prefix("nats://")
        .or_else(|| host.strip_prefix("tls://"))
        .unwrap_or(host);
    let name = bare
        .rsplit_once(':')
        .filter(|_| !bare.ends_with(']'))
        .map_or(bare, |(name, _)| name);
    let named = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let bracketed = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if !named && bracketed.is_none_or(|address| address.parse::<std::net::Ipv6Addr>().is_err()) {
        return Err(error(
            "needs a host name, an IPv4 address or an IPv6 address in brackets; correct it".to_owned(),
        ));
    }
    check_port(bare).map_err(error)?;
    if name.len() == bare.len() {
        Ok(format!("{scheme}://{bare}:{DEFAULT_PORT}"))
    } else {
        Ok(format!("{scheme}://{bare}"))
    }
}

/// Checks the port of a server address; the schema's pattern cannot compare numbers.
pub(super) fn check_port(server: &str) -> Result<(), String> {
    let bare = server.split_once("://").map_or(server, |(_, bare)| bare);
    let Some((_, port)) = bare.rsplit_once(':').filter(|_| !bare.ends_with(']')) else {
        return Ok(());
    };
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        _ => Err(format!(
            "port {port:?} is not a number from 1 to 65535; correct it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nats(url: &str) -> NatsTarget {
        SinkPlan::from_url(url).unwrap().nats().unwrap().clone()
    }

    #[test]
    fn bare_nats_url_gets_every_default() {
        let sink = SinkPlan::from_url("nats://127.0.0.1:4222").unwrap();
        let target = sink.nats().unwrap();
        assert_eq!(target.servers, ["nats://127.0.0.1:4222"]);
        assert_eq!(target.stream.name, "WEIR");
        assert_eq!(target.subject_prefix, "weir.events");
        assert_eq!(target.stream.manage, Manage::Ensure);
        assert_eq!(sink.batch.linger_ms, 5);
        assert!(!target.tls.required);
    }

    #[test]
    fn parameters_and_several_servers_are_read() {
        let url = "tls://a,tls://[::1]:4223?stream=E2E&prefix=x.y&manage=external&encoding=protobuf&linger=1&compression=zstd";
        let target = nats(url);
        assert_eq!(target.servers, ["tls://a:4222", "tls://[::1]:4223"]);
        assert!(target.tls.required);
        assert_eq!(
            (target.stream.name.as_str(), target.subject_prefix.as_str()),
            ("E2E", "x.y")
        );
        assert_eq!(target.stream.manage, Manage::External);
        let sink = SinkPlan::from_url(url).unwrap();
        assert_eq!(
            (sink.encoding, sink.compression, sink.batch.linger_ms),
            (Encoding::Protobuf, Compression::Zstd, 1)
        );
    }

    #[test]
    fn stdout_and_file_are_read() {
        assert_eq!(SinkPlan::from_url("stdout").unwrap().target, SinkTarget::Stdout);
        assert_eq!(
            SinkPlan::from_url("file:/tmp/a b").unwrap().target,
            SinkTarget::File("/tmp/a b".into())
        );
        assert_eq!(
            SinkPlan::from_url("file:///tmp/x").unwrap().target,
            SinkTarget::File("/tmp/x".into())
        );
    }

    #[test]
    fn bad_urls_say_the_remedy() {
        for (url, part) in [
            ("kafka://x", "use nats://HOST:PORT"),
            ("", "use nats://HOST:PORT"),
            ("file:", "needs a path"),
            ("nats://", "host name"),
            ("nats://a:0", "1 to 65535"),
            ("nats://a:70000", "1 to 65535"),
            ("nats://::1:4222", "brackets"),
            ("nats://user:secret@a", "--credentials-dir"),
            ("nats://a?stream=a.b", "letters, digits"),
            ("nats://a?stream=", "letters, digits"),
            ("nats://a?prefix=a..b", "tokens separated"),
            ("nats://a?linger=0", "1 to 1000"),
            ("nats://a?manage=maybe", "Ensure or External"),
            ("nats://a?colour=red", "known are"),
        ] {
            let message = SinkPlan::from_url(url).unwrap_err().to_string();
            assert!(message.contains(part), "{url}: {message}");
        }
    }
}
