//! Kubernetes Events, all through one recorder: equal ones are counted into one object only then.
//!
//! Whoever tells something never waits for the API server: Events have a queue and a task of their own.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::names::REPORTER;

/// Bytes of a note that the API server takes.
const NOTE_BYTES: usize = 1000;
/// Events that wait. A fleet's worst moment tells a few of each profile; more than that nobody reads, so that what does
/// not fit is dropped, counted, and still in the log.
const WAITING: usize = 512;
/// An API server that does not take an Event in this time does not get it: clients of it try again by themselves.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
/// At the end, what waits is still published for at most this long.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Logs what happened, and has it published as an Event. Failing to publish is logged, too, and harms nothing.
#[derive(Clone, Debug)]
pub struct Events {
    queue: mpsc::Sender<(Event, ObjectReference)>,
    dropped: Counter,
}

/// The task that publishes.
pub struct Publisher {
    recorder: Recorder,
    waiting: mpsc::Receiver<(Event, ObjectReference)>,
}

impl Events {
    /// Events of this instance, and what publishes them once it runs.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> (Self, Publisher) {
        let reporter = Reporter {
            controller: REPORTER.to_owned(),
            instance,
        };
        let (queue, waiting) = mpsc::channel(WAITING);
        let dropped = Counter::default();
        let publisher = Publisher {
            recorder: Recorder::new(client, reporter),
            waiting,
        };
        (Self { queue, dropped }, publisher)
    }

    /// Events that were dropped because too many waited.
    #[must_use]
    pub fn dropped(&self) -> Counter {
        self.dropped.clone()
    }

    /// Something is as it should be (again).
    pub fn normal(&self, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        self.tell(EventType::Normal, about, action, reason, note);
    }

    /// Something needs a person.
    pub fn warning(&self, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        self.tell(EventType::Warning, about, action, reason, note);
    }

    fn tell(&self, type_: EventType, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        let mut end = note.len().min(NOTE_BYTES);
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        let note = &note[..end];
        let (kind, name) = (about.kind.as_deref(), about.name.as_deref());
        if matches!(type_, EventType::Warning) {
            tracing::warn!(kind, name, reason, "{note}");
        } else {
            tracing::info!(kind, name, reason, "{note}");
        }
        let event = Event {
            type_,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        if self.queue.try_send((event, about.clone())).is_err() {
            self.dropped.inc();
        }
    }
}

impl Publisher {
    /// Publishes until `stop`, and then what still waits, within two seconds.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some((event, about)) = stop.run_until_cancelled(self.waiting.recv()).await.flatten() {
            self.publish(&event, &about).await;
        }
        let rest = async {
            while let Ok((event, about)) = self.waiting.try_recv() {
                self.publish(&event, &about).await;
            }
        };
        if tokio::time::timeout(END_TIMEOUT, rest).await.is_err() {
            tracing::debug!("some Events were not published at the end");
        }
    }

    async fn publish(&self, event: &Event, about: &ObjectReference) {
        let published = tokio::time::timeout(PUBLISH_TIMEOUT, self.recorder.publish(event, about)).await;
        let reason = &event.reason;
        match published {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = chain(&error), reason, "an Event could not be published");
            }
            Err(_elapsed) => tracing::warn!(reason, "an Event was not taken in time"),
        }
    }
}
