//! Reading a `JetStream` stream from its first message, with a pull consumer of our own.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::nats::{Connection, Message};
use crate::shell;

const BATCH: usize = 200;
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);
/// `JetStream`'s error code for a stream that does not exist.
const STREAM_NOT_FOUND: u64 = 10_059;

/// A reader of one stream.
pub(super) struct JetStream {
    connection: Connection,
    stream: String,
    consumer: String,
}

impl JetStream {
    /// Starts at the first message of `stream`, which must exist.
    pub(super) fn open(server: SocketAddr, stream: &str) -> Result<Self> {
        let mut connection = Connection::open(server)?;
        let config = json!({
            "stream_name": stream,
            "config": {
                "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant", "mem_storage": true,
                "inactive_threshold": nanos(Duration::from_mins(5)),
            },
        });
        let answer = api(
            &mut connection,
            &format!("CONSUMER.CREATE.{stream}"),
            &config.to_string(),
        )?;
        let answer = accept(answer).with_context(|| format!("making a consumer of stream {stream}"))?;
        let consumer = answer["name"]
            .as_str()
            .context("the new consumer has no name")?
            .to_owned();
        Ok(Self {
            connection,
            stream: stream.to_owned(),
            consumer,
        })
    }

    /// As [`Self::open`], once the agent has made the stream; `check` says whether waiting still makes sense.
    pub(super) fn open_when_made(
        server: SocketAddr,
        stream: &str,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut connection = Connection::open(server)?;
        let deadline = Instant::now() + STREAM_TIMEOUT;
        loop {
            shell::interrupted()?;
            check()?;
            let info = api(&mut connection, &format!("STREAM.INFO.{stream}"), "")?;
            if info["error"]["err_code"] != STREAM_NOT_FOUND {
                accept(info).with_context(|| format!("looking for stream {stream}"))?;
                return Self::open(server, stream);
            }
            if Instant::now() >= deadline {
                bail!("the agent has not made stream {stream} within {STREAM_TIMEOUT:?}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The next messages; none when there are none within `patience`.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Vec<Message>> {
        let mut request = json!({"batch": BATCH, "no_wait": true});
        if !patience.is_zero() {
            request = json!({"batch": BATCH, "expires": nanos(patience)});
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        self.connection.request(&subject, &request.to_string())?;
        let mut messages = Vec::new();
        while messages.len() < BATCH {
            let message = self.connection.answer()?;
            match message.status {
                None => messages.push(message),
                // No messages (404), or the patience has run out (408).
                Some(404 | 408) => break,
                Some(status) => bail!(
                    "the server ended the read of stream {} with status {status}",
                    self.stream
                ),
            }
        }
        Ok(messages)
    }

    /// How many messages the stream holds.
    pub(super) fn count(&mut self) -> Result<u64> {
        let info = accept(api(
            &mut self.connection,
            &format!("STREAM.INFO.{}", self.stream),
            "",
        )?)?;
        info["state"]["messages"]
            .as_u64()
            .context("the stream's state names no count of messages")
    }
}

fn api(connection: &mut Connection, call: &str, payload: &str) -> Result<Value> {
    connection.request(&format!("$JS.API.{call}"), payload)?;
    let message = connection.answer()?;
    if let Some(status) = message.status {
        bail!("the server answers {call} with status {status}: JetStream is not enabled");
    }
    serde_json::from_slice(&message.payload).with_context(|| format!("reading the answer to {call}"))
}

fn accept(answer: Value) -> Result<Value> {
    match answer["error"]["description"].as_str() {
        Some(description) => bail!("{description} (error {})", answer["error"]["err_code"]),
        None => Ok(answer),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
