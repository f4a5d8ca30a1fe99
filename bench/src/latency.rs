//! A consumer of the stream on loopback that says how late events are: the event's own time against the time at which
//! the stream hands it out, which is when the server acknowledges it.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use async_nats::jetstream::{self, consumer};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::config::STREAM;
use crate::stat::quantile;

/// Messages that [`Args::ping`] publishes one after the other.
const PINGS: usize = 500;
/// As long as a batch of the flow that the agent is measured with.
const PING_BYTES: usize = 16 * 1024;

/// Arguments of the hidden `latency`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long)]
    server: String,
    #[arg(long)]
    seconds: f64,
    /// Make a stream and publish to it, one message after the other, in place of reading.
    #[arg(long)]
    ping: bool,
}

/// How late, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Late {
    pub(crate) events: u64,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) p999_us: u32,
}

impl Late {
    fn of(mut micros: Vec<u32>, messages: u64, bytes: u64) -> Self {
        let events = micros.len() as u64;
        let mut at = |per_mille| quantile(&mut micros, per_mille).unwrap_or(0);
        Self {
            events,
            messages,
            bytes,
            p50_us: at(500),
            p99_us: at(990),
            p999_us: at(999),
        }
    }
}

/// Runs the hidden `latency`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let late = runtime.block_on(async {
        let client = async_nats::connect(&args.server).await.context("connecting")?;
        if args.ping {
            ping(client).await
        } else {
            read(client, Duration::from_secs_f64(args.seconds)).await
        }
    })?;
    let mut out = std::io::stdout();
    serde_json::to_writer(&out, &late)?;
    out.flush().context("saying what was seen")
}

async fn read(client: async_nats::Client, window: Duration) -> Result<Late> {
    let deliver_subject = client.new_inbox();
    let stream = jetstream::new(client)
        .get_stream(STREAM)
        .await
        .context("looking for the stream")?;
    let consumer = stream
        .create_consumer(consumer::push::OrderedConfig {
            deliver_subject,
            deliver_policy: consumer::DeliverPolicy::New,
            ..Default::default()
        })
        .await
        .context("making a consumer")?;
    let mut messages = consumer.messages().await.context("reading the stream")?;
    let end = tokio::time::Instant::now() + window;
    let mut arrived = Vec::new();
    while let Ok(next) = tokio::time::timeout_at(end, messages.next()).await {
        let message = next.context("the stream ended")?.context("reading the stream")?;
        arrived.push((wall_ns(), message.subject.clone(), message.payload.clone()));
    }
    // Decoded afterwards: it would compete with what is measured.
    let (mut micros, mut bytes, mut count) = (Vec::new(), 0, 0);
    for (received_ns, subject, payload) in arrived {
        if subject.contains("._agent.") {
            continue;
        }
        (bytes, count) = (bytes + payload.len() as u64, count + 1);
        for made_ns in times(&payload)? {
            micros.push(u32::try_from(received_ns.saturating_sub(made_ns) / 1_000).unwrap_or(u32::MAX));
        }
    }
    Ok(Late::of(micros, count, bytes))
}

async fn ping(client: async_nats::Client) -> Result<Late> {
    let context = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: "weir-ping".into(),
        subjects: vec!["weir-ping".into()],
        max_bytes: 64 << 20,
        ..Default::default()
    };
    context.create_stream(config).await.context("making a stream")?;
    let mut micros = Vec::with_capacity(PINGS);
    for _ in 0..PINGS {
        let begin = Instant::now();
        context
            .publish("weir-ping", vec![b'x'; PING_BYTES].into())
            .await?
            .await
            .context("publishing")?;
        micros.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Late::of(micros, PINGS as u64, (PINGS * PING_BYTES) as u64))
}

/// The time of each event of a message, nanoseconds since 1970.
fn times(payload: &[u8]) -> Result<Vec<u64>> {
    let events = if payload.first() == Some(&b'[') {
        let batch = weir_events::decode::decode_json(payload).context("reading a JSON batch")?;
        batch.into_iter().map(|event| event.data).collect()
    } else {
        weir_events::decode::decode_protobuf(payload).context("reading a protobuf batch")?
    };
    let nanos = |event: weir_events::decode::UnifiedEvent| {
        let time = event.time.context("an event without a time")?;
        Ok(u64::try_from(time.seconds)? * 1_000_000_000 + u64::try_from(time.nanos)?)
    };
    events.into_iter().map(nanos).collect()
}

fn wall_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A consumer under way.
pub(crate) struct Consumer(Child);

impl Consumer {
    /// Reads everything that is published from now on for `window`.
    pub(crate) fn start(server: &str, window: Duration) -> Result<Self> {
        Self::launch(server, window, &[])
    }

    /// What one message after the other takes to be acknowledged, for comparison.
    pub(crate) fn ping(server: &str) -> Result<Late> {
        Self::launch(server, Duration::ZERO, &["--ping"])?.finish()
    }

    fn launch(server: &str, window: Duration, arguments: &[&str]) -> Result<Self> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(Path::new(&program));
        command.args([
            "latency",
            "--server",
            server,
            "--seconds",
            &window.as_secs_f64().to_string(),
        ]);
        Ok(Self(Child::piped("consumer", {
            command.args(arguments);
            command
        })?))
    }

    /// What it saw.
    pub(crate) fn finish(self) -> Result<Late> {
        let text = self.0.output()?;
        serde_json::from_str(&text).with_context(|| format!("reading what the consumer said: {text:?}"))
    }
}
