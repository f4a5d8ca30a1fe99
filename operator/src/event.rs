//! Kubernetes Events, all through one recorder: equal ones are counted into one object only then.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::error::chain;
use crate::names::REPORTER;

/// Bytes of a note that the API server takes.
const NOTE_BYTES: usize = 1000;

/// Publishes Events, and logs what they say. Failing to is logged, too, and harms nothing.
#[derive(Clone)]
pub struct Events {
    recorder: Recorder,
}

impl Events {
    /// Events of this instance.
    #[must_use]
    pub fn new(client: Client, instance: Option<String>) -> Self {
        Self {
            recorder: Recorder::new(
                client,
                Reporter {
                    controller: REPORTER.to_owned(),
                    instance,
                },
            ),
        }
    }

    /// Something is as it should be (again).
    pub async fn normal(&self, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        self.publish(EventType::Normal, about, action, reason, note).await;
    }

    /// Something needs a person.
    pub async fn warning(&self, about: &ObjectReference, action: &str, reason: &str, note: &str) {
        self.publish(EventType::Warning, about, action, reason, note)
            .await;
    }

    async fn publish(
        &self,
        type_: EventType,
        about: &ObjectReference,
        action: &str,
        reason: &str,
        note: &str,
    ) {
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
        if let Err(error) = self.recorder.publish(&event, about).await {
            tracing::warn!(error = chain(&error), reason, "an Event could not be published");
        }
    }
}
