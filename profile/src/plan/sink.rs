//! Sinks with their defaults filled in: from a `CollectorSink`, or from the URL of `--sink`.

mod url;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::api::{
    Batch, CollectorSinkSpec, Compression, Encoding, Manage, NatsSink, Quantity, SecretKeyRef, Storage,
    Stream, Tls,
};
use crate::error::{FieldError, FieldErrors};
use crate::{CollectorSink, validate};

pub use url::SinkUrlError;

/// Where events go and how they are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SinkPlan {
    /// The sink's name; `cli` for one from a URL.
    pub name: String,
    /// Where events go.
    pub target: SinkTarget,
    /// How events are written.
    pub encoding: Encoding,
    /// How messages are compressed.
    pub compression: Compression,
    /// How many events share a message.
    pub batch: BatchPlan,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SinkTarget {
    /// A NATS `JetStream` stream.
    Nats(NatsTarget),
    /// Standard output, one document per line.
    Stdout,
    /// A file that is appended to.
    File(#[serde(serialize_with = "lossy")] PathBuf),
}

/// A path need not be UTF-8, and a digest must not fail.
fn lossy<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// A NATS `JetStream` stream and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NatsTarget {
    /// `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// Encryption.
    pub tls: TlsPlan,
    /// File of the gathered Secret (or of `--credentials-dir`) with the NATS credentials.
    pub credentials: Option<String>,
    /// First tokens of every subject.
    pub subject_prefix: String,
    /// The stream.
    pub stream: StreamPlan,
}

/// How the connection is encrypted. Files are of the gathered Secret or of `--credentials-dir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsPlan {
    /// Refuse a server without TLS.
    pub required: bool,
    /// PEM file of certificates to trust instead of the system's.
    pub ca: Option<String>,
    /// PEM files of the client's certificate and key.
    pub client: Option<(String, String)>,
}

/// The stream as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamPlan {
    /// Its name.
    pub name: String,
    /// Who makes it.
    pub manage: Manage,
    /// Copies, 1 to 5.
    pub replicas: u8,
    /// Where it is kept.
    pub storage: Storage,
    /// Bytes at which the oldest messages go.
    pub max_bytes: u64,
    /// Seconds after which messages go; `None` is never.
    pub max_age_seconds: Option<u64>,
    /// Seconds for which the server knows a message's id again.
    pub duplicate_window_seconds: u32,
}

/// How many events share a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BatchPlan {
    /// Events at most, 1 to 10000.
    pub max_events: u32,
    /// Bytes at most, 4 KiB to 8 MiB; the server's own limit holds too.
    pub max_bytes: u32,
    /// Milliseconds that an event waits for company at most, 1 to 1000.
    pub linger_ms: u32,
}

/// First tokens of every subject where the sink gives none.
pub const DEFAULT_SUBJECT_PREFIX: &str = "weir.events";
/// Stream of a sink URL that names none.
pub const DEFAULT_STREAM: &str = "WEIR";
const DEFAULT_STREAM_BYTES: u64 = 1 << 30;
/// What nats-server itself defaults to.
const DEFAULT_DUPLICATE_WINDOW_SECONDS: u32 = 120;
const BATCH_BYTES: std::ops::RangeInclusive<u64> = 4 << 10..=8 << 20;

impl Default for BatchPlan {
    fn default() -> Self {
        // 256 KiB of about 100-byte events fill a message at 500 k ev/s within 5 ms.
        Self {
            max_events: 4096,
            max_bytes: 256 << 10,
            linger_ms: 5,
        }
    }
}

impl StreamPlan {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            manage: Manage::Ensure,
            replicas: 1,
            storage: Storage::File,
            max_bytes: DEFAULT_STREAM_BYTES,
            max_age_seconds: None,
            duplicate_window_seconds: DEFAULT_DUPLICATE_WINDOW_SECONDS,
        }
    }
}

impl SinkPlan {
    /// Reads the URL of `--sink`: `nats://host:port[,host:port]?stream=NAME&prefix=weir.events`, `stdout` or
    /// `file:PATH`.
    pub fn from_url(url: &str) -> Result<Self, SinkUrlError> {
        url::parse(url)
    }

    /// The stream, where the target has one.
    #[must_use]
    pub fn nats(&self) -> Option<&NatsTarget> {
        match &self.target {
            SinkTarget::Nats(nats) => Some(nats),
            SinkTarget::Stdout | SinkTarget::File(_) => None,
        }
    }

    /// First tokens of every subject.
    #[must_use]
    pub fn subject_prefix(&self) -> &str {
        self.nats()
            .map_or(DEFAULT_SUBJECT_PREFIX, |nats| &nats.subject_prefix)
    }

    fn to(name: &str, target: SinkTarget) -> Self {
        Self {
            name: name.to_owned(),
            target,
            encoding: Encoding::Json,
            compression: Compression::None,
            batch: BatchPlan::default(),
        }
    }
}

/// One file of the gathered Secret and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatheredSecret {
    /// Path of the field that names it, for error messages.
    pub path: &'static str,
    /// The Secret in the operator's namespace.
    pub secret: String,
    /// The key in it.
    pub key: String,
    /// The key in the gathered Secret, and so the name of the mounted file.
    pub file: String,
}

/// What the operator gathers for a sink's agents. Credentials for making the stream are never among them.
#[must_use]
pub fn gathered_secrets(sink: &CollectorSink) -> Vec<GatheredSecret> {
    let name = sink.metadata.name.as_deref().unwrap_or_default();
    let nats = &sink.spec.nats;
    let from_key = |path, reference: &SecretKeyRef, role: &str| GatheredSecret {
        path,
        secret: reference.name.clone(),
        key: reference.key.clone(),
        file: file(name, role),
    };
    let mut secrets = Vec::new();
    if let Some(reference) = &nats.credentials_secret_ref {
        secrets.push(from_key("spec.nats.credentialsSecretRef", reference, CREDENTIALS));
    }
    if let Some(tls) = &nats.tls {
        if let Some(reference) = &tls.ca_secret_ref {
            secrets.push(from_key("spec.nats.tls.caSecretRef", reference, CA));
        }
        if let Some(reference) = &tls.client_certificate_secret_ref {
            for role in [CERTIFICATE, KEY] {
                secrets.push(GatheredSecret {
                    path: "spec.nats.tls.clientCertificateSecretRef",
                    secret: reference.name.clone(),
                    key: role.to_owned(),
                    file: file(name, role),
                });
            }
        }
    }
    secrets
}

const CREDENTIALS: &str = "creds";
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Sink names have no dot, so that two sinks never share a file.
fn file(sink: &str, role: &str) -> String {
    format!("{sink}.{role}")
}

/// Fills in a sink's defaults.
pub fn sink_plan(sink: &CollectorSink) -> Result<SinkPlan, FieldErrors> {
    let mut errors = match validate::sink(sink) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec(),
    };
    let CollectorSinkSpec {
        nats,
        encoding,
        compression,
        batch,
        spool,
    } = &sink.spec;
    let name = sink.metadata.name.as_deref().unwrap_or_default();
    let target = nats_target(name, nats, &mut errors);
    let batch = batch_plan(batch.as_ref(), &mut errors);
    // Who asks for a spool counts on it: to go on without one would lose what they think is kept.
    if spool.is_some() {
        errors.push(FieldError::invalid(
            "spec.spool",
            "is not in this release; remove it",
        ));
    }
    FieldErrors::check(errors)?;
    Ok(SinkPlan {
        name: name.to_owned(),
        target: SinkTarget::Nats(target),
        encoding: encoding.unwrap_or(Encoding::Json),
        compression: compression.unwrap_or(Compression::None),
        batch,
    })
}

fn nats_target(name: &str, nats: &NatsSink, errors: &mut Vec<FieldError>) -> NatsTarget {
    let NatsSink {
        servers,
        tls,
        credentials_secret_ref,
        subject_prefix,
        stream,
    } = nats;
    for (i, server) in servers.iter().enumerate() {
        if let Err(problem) = url::check_port(server) {
            errors.push(FieldError::invalid(format!("spec.nats.servers[{i}]"), problem));
        }
    }
    let mut servers = servers.clone();
    servers.sort();
    NatsTarget {
        servers,
        tls: tls.as_ref().map(|tls| tls_plan(name, tls)).unwrap_or_default(),
        credentials: credentials_secret_ref.as_ref().map(|_| file(name, CREDENTIALS)),
        subject_prefix: subject_prefix
            .clone()
            .unwrap_or_else(|| DEFAULT_SUBJECT_PREFIX.to_owned()),
        stream: stream_plan(stream, errors),
    }
}

fn tls_plan(name: &str, tls: &Tls) -> TlsPlan {
    let Tls {
        required,
        ca_secret_ref,
        client_certificate_secret_ref,
    } = tls;
    TlsPlan {
        required: required.unwrap_or(true),
        ca: ca_secret_ref.as_ref().map(|_| file(name, CA)),
        client: client_certificate_secret_ref
            .as_ref()
            .map(|_| (file(name, CERTIFICATE), file(name, KEY))),
    }
}

fn stream_plan(stream: &Stream, errors: &mut Vec<FieldError>) -> StreamPlan {
    let Stream {
        name,
        manage,
        // The operator alone uses it; it must not change what agents hold.
        admin_credentials_secret_ref: _,
        replicas,
        storage,
        max_bytes,
        max_age_seconds,
        duplicate_window_seconds,
    } = stream;
    let any = 1..=u64::MAX >> 1;
    StreamPlan {
        name: name.clone(),
        manage: manage.unwrap_or(Manage::Ensure),
        replicas: replicas
            .and_then(|replicas| u8::try_from(replicas).ok())
            .unwrap_or(1),
        storage: storage.unwrap_or(Storage::File),
        max_bytes: size(
            max_bytes.as_ref(),
            "spec.nats.stream.maxBytes",
            any,
            DEFAULT_STREAM_BYTES,
            errors,
        ),
        max_age_seconds: max_age_seconds.and_then(|age| u64::try_from(age).ok()),
        duplicate_window_seconds: duplicate_window_seconds
            .and_then(|window| u32::try_from(window).ok())
            .unwrap_or(DEFAULT_DUPLICATE_WINDOW_SECONDS),
    }
}

fn batch_plan(batch: Option<&Batch>, errors: &mut Vec<FieldError>) -> BatchPlan {
    let default = BatchPlan::default();
    let Some(Batch {
        max_events,
        max_bytes,
        linger_milliseconds,
    }) = batch
    else {
        return default;
    };
    let number = |value: &Option<i32>, absent: u32| {
        value
            .and_then(|value| u32::try_from(value).ok())
            .unwrap_or(absent)
    };
    let bytes = size(
        max_bytes.as_ref(),
        "spec.batch.maxBytes",
        BATCH_BYTES,
        default.max_bytes.into(),
        errors,
    );
    BatchPlan {
        max_events: number(max_events, default.max_events),
        max_bytes: u32::try_from(bytes).unwrap_or(default.max_bytes),
        linger_ms: number(linger_milliseconds, default.linger_ms),
    }
}

/// Reads a size and checks the bounds that a pattern cannot express.
fn size(
    quantity: Option<&Quantity>,
    path: &str,
    bounds: std::ops::RangeInclusive<u64>,
    absent: u64,
    errors: &mut Vec<FieldError>,
) -> u64 {
    let Some(quantity) = quantity else { return absent };
    match quantity.bytes() {
        Ok(bytes) if bounds.contains(&bytes) => return bytes,
        Ok(bytes) => {
            let (min, max) = (bounds.start(), bounds.end());
            errors.push(FieldError::invalid(
                path,
                format!(
                    "{} is {bytes} bytes; use a size from {min} to {max} bytes",
                    quantity.0
                ),
            ));
        }
        Err(problem) => errors.push(FieldError::invalid(
            path,
            format!("{:?} {problem}; correct it", quantity.0),
        )),
    }
    absent
}
