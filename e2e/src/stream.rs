//! The consumer's side: events of one profile, read from the quick start's `JetStream`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self};
use futures::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cluster::Cluster;
use crate::wait::{Probe, WaitError, until};

/// The stream that `manifests/quickstart/sink.yaml` names.
const STREAM: &str = "WEIR";
/// The subject prefix of a sink that names none.
const PREFIX: &str = "weir.events";
/// Messages that are asked for at a time.
const FETCH: usize = 500;
/// kubectl says where it listens as soon as it does.
const FORWARD_LIMIT: Duration = Duration::from_secs(20);

/// What goes wrong between a test and the broker.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// No way to the broker.
    #[error("forwarding a port to the broker: {0}")]
    Forward(String),
    /// kubectl did not start.
    #[error("starting kubectl port-forward")]
    Start(#[source] std::io::Error),
    /// The broker refused.
    #[error("the broker: {what}")]
    Broker {
        /// What was asked for.
        what: &'static str,
        /// Its answer.
        #[source]
        source: async_nats::Error,
    },
    /// A message is not a batch of events.
    #[error("a message on {subject} is not a batch of events")]
    Message {
        /// Its subject.
        subject: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

/// One event, with when the broker stored it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The id of the `CloudEvent`.
    pub id: String,
    /// The `UnifiedEvent`.
    pub data: Value,
    /// When the broker stored it, in milliseconds since 1970.
    pub stored: i64,
}

impl Event {
    /// The agent's life that it comes from; empty when its id is not as specified.
    #[must_use]
    pub fn epoch(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// Its sequence number in that life.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.id.rsplit('/').next()?.parse().ok()
    }

    /// The node whose agent published it.
    #[must_use]
    pub fn node(&self) -> &str {
        self.data["node"].as_str().unwrap_or_default()
    }
}

/// The events of one profile so far.
pub struct Events {
    /// In the order of the stream.
    pub all: Vec<Event>,
    consumer: consumer::Consumer<pull::Config>,
    // Keep the way to the broker open.
    _client: async_nats::Client,
    _forward: Child,
}

impl Events {
    /// Begins at the stream's first message of `profile`, or of all when it is `*`.
    pub async fn of(cluster: &Cluster, profile: &str) -> Result<Self, StreamError> {
        Self::with(cluster, profile, DeliverPolicy::All).await
    }

    /// Begins with what is stored from now on.
    pub async fn from_now(cluster: &Cluster, profile: &str) -> Result<Self, StreamError> {
        Self::with(cluster, profile, DeliverPolicy::New).await
    }

    async fn with(cluster: &Cluster, profile: &str, begin: DeliverPolicy) -> Result<Self, StreamError> {
        let (forward, port) = forward(cluster).await?;
        let client = async_nats::connect(format!("127.0.0.1:{port}"))
            .await
            .map_err(|source| StreamError::Broker {
                what: "connecting",
                source: source.into(),
            })?;
        let config = pull::Config {
            filter_subject: format!("{PREFIX}.{profile}.>"),
            ack_policy: AckPolicy::None,
            deliver_policy: begin,
            memory_storage: true,
            inactive_threshold: Duration::from_mins(10),
            ..pull::Config::default()
        };
        let consumer = jetstream::new(client.clone())
            .create_consumer_strict_on_stream(config, STREAM)
            .await
            .map_err(|source| StreamError::Broker {
                what: "making a consumer",
                source: source.into(),
            })?;
        Ok(Self {
            all: Vec::new(),
            consumer,
            _client: client,
            _forward: forward,
        })
    }

    /// Takes in what the stream holds by now.
    pub async fn read(&mut self) -> Result<(), StreamError> {
        let broker = |what| move |source: async_nats::Error| StreamError::Broker { what, source };
        loop {
            let fetch = self
                .consumer
                .fetch()
                .max_messages(FETCH)
                .expires(Duration::from_millis(300));
            let mut batch = fetch
                .messages()
                .await
                .map_err(|source| broker("reading")(source.into()))?;
            let mut count = 0;
            while let Some(message) = batch.next().await {
                let message = message.map_err(broker("reading"))?;
                let published = message.info().map_err(broker("reading"))?.published;
                let stored = published.unix_timestamp() * 1000 + i64::from(published.millisecond());
                let events: Vec<Value> =
                    serde_json::from_slice(&message.payload).map_err(|source| StreamError::Message {
                        subject: message.subject.to_string(),
                        source,
                    })?;
                for mut event in events {
                    let id = event["id"].as_str().unwrap_or_default().to_owned();
                    self.all.push(Event {
                        id,
                        data: event["data"].take(),
                        stored,
                    });
                }
                count += 1;
            }
            // Fewer than were asked for: more were not there. While others arrive, "none" would never be the answer.
            if count < FETCH {
                return Ok(());
            }
        }
    }

    /// Reads until an event is there that `is_it`; returns it.
    pub async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        is_it: impl Fn(&Event) -> bool,
    ) -> Result<Event, WaitError> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let read = self.read().await;
            if let Some(event) = self.all.iter().find(|event| is_it(event)) {
                return Ok(event.clone());
            }
            if let Err(error) = read {
                return Err(WaitError::Never {
                    what: what.to_owned(),
                    state: crate::wait::chain(&error),
                });
            }
            if tokio::time::Instant::now() >= deadline {
                let last = self
                    .all
                    .last()
                    .map(|event| event.data.to_string())
                    .unwrap_or_default();
                let state = format!("{} events, the last one {last}", self.all.len());
                return Err(WaitError::TimedOut {
                    what: what.to_owned(),
                    limit,
                    state,
                });
            }
        }
    }

    /// Reads until `count` distinct events are there.
    pub async fn until_count(&mut self, count: u64, limit: Duration) -> Result<(), WaitError> {
        let what = format!("{count} distinct events in the stream");
        // The closure of `until` cannot lend `self`; a cell would hide that only one look runs at a time.
        let events = tokio::sync::Mutex::new(self);
        until(&what, limit, || async {
            let mut events = events.lock().await;
            let read = events.read().await;
            read.map(|()| {
                let there = events.distinct();
                Probe::when(there >= count, (), format!("{there} events"))
            })
        })
        .await
    }

    /// How many different events there are.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        let ids: BTreeSet<(&str, &str)> = self
            .all
            .iter()
            .map(|event| (event.node(), event.id.as_str()))
            .collect();
        ids.len() as u64
    }

    /// What of the sequence numbers is not contiguous, per node and life of its agent; empty when nothing is missing.
    #[must_use]
    pub fn holes(&self) -> Vec<String> {
        let mut numbers: BTreeMap<(&str, &str), BTreeSet<u64>> = BTreeMap::new();
        for event in &self.all {
            let life = numbers.entry((event.node(), event.epoch())).or_default();
            life.extend(event.seq());
        }
        let holes = numbers.into_iter().filter_map(|((node, epoch), numbers)| {
            let (first, last) = (*numbers.first()?, *numbers.last()?);
            let missing: Vec<u64> = (first..=last)
                .filter(|number| !numbers.contains(number))
                .take(10)
                .collect();
            (!missing.is_empty())
                .then(|| format!("{node} in epoch {epoch} lacks {missing:?} of {first} to {last}"))
        });
        holes.collect()
    }
}

/// Whether an event is the start of a program with `marker` among its arguments.
#[must_use]
pub fn is_exec_of(event: &Event, marker: &str) -> bool {
    let args = event.data["processExec"]["args"].as_array();
    args.into_iter().flatten().any(|arg| arg == marker)
}

/// `kubectl port-forward` to the broker's pod: works on every cluster, and no route into it is needed.
async fn forward(cluster: &Cluster) -> Result<(Child, u16), StreamError> {
    let mut command: Command = cluster.kubectl_command();
    command
        .args(["port-forward", "--namespace=weir-nats", "pod/nats-0", ":4222"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(StreamError::Start)?;
    let stdout = child
        .stdout
        .take()
        .ok_or_else(|| StreamError::Forward("no standard output".to_owned()))?;
    let mut lines = BufReader::new(stdout).lines();
    let line = tokio::time::timeout(FORWARD_LIMIT, lines.next_line())
        .await
        .map_err(|_elapsed| StreamError::Forward(format!("kubectl said nothing within {FORWARD_LIMIT:?}")))?
        .map_err(StreamError::Start)?
        .ok_or_else(|| StreamError::Forward("kubectl ended".to_owned()))?;
    let port = port_of(&line).ok_or_else(|| StreamError::Forward(line.clone()))?;
    // kubectl writes a line per connection, and must not stop at a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, port))
}

/// Of `Forwarding from 127.0.0.1:43211 -> 4222`.
fn port_of(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_of_what_kubectl_prints() {
        assert_eq!(port_of("Forwarding from 127.0.0.1:43211 -> 4222"), Some(43211));
        assert_eq!(port_of("error: unable to forward port"), None);
    }

    #[test]
    fn marker_is_an_argument_and_not_a_part_of_one() {
        let event = |args: Value| Event {
            id: "1/p/1".to_owned(),
            data: serde_json::json!({"processExec": {"args": args}}),
            stored: 0,
        };
        assert!(is_exec_of(&event(serde_json::json!(["echo", "mark"])), "mark"));
        assert!(!is_exec_of(&event(serde_json::json!(["echo", "marker"])), "mark"));
        assert!(!is_exec_of(&event(Value::Null), "mark"));
    }
}
