//! What publishing measures, by sink type; sink names are the user's and no label.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use weir_runtime::metrics::Metrics;

use super::settings::Target;

/// The kind of a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label values")]
pub enum SinkType {
    /// `JetStream`.
    nats,
    /// Standard output.
    stdout,
    /// A file.
    file,
}

impl SinkType {
    pub(crate) fn of(target: &Target) -> Self {
        match target {
            Target::Nats(_) => Self::nats,
            Target::Stdout => Self::stdout,
            Target::File(_) => Self::file,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label values")]
pub enum Outcome {
    /// Acknowledged as new.
    acked,
    /// Acknowledged as already there.
    duplicate,
    /// Given up by the agent.
    shed,
    /// Refused by the sink.
    rejected,
}

/// Why a batch is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants are the label values")]
pub enum Retry {
    /// No answer in time.
    timeout,
    /// The connection went before the answer came.
    disconnect,
    /// An answer that may be another one next time.
    refused,
    /// Writing failed.
    write,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct SinkLabels {
    pub(crate) sink_type: SinkType,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OutcomeLabels {
    pub(crate) sink_type: SinkType,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RetryLabels {
    pub(crate) sink_type: SinkType,
    pub(crate) reason: Retry,
}

/// 0.25 ms to 8 s: an acknowledgement takes 0.1 ms on loopback and is given up after 5 s.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// The handles; cheap to clone.
#[derive(Debug, Clone)]
pub struct PublishMetrics {
    pub(crate) batches: Family<OutcomeLabels, Counter>,
    pub(crate) events: Family<OutcomeLabels, Counter>,
    pub(crate) bytes: Family<SinkLabels, Counter>,
    pub(crate) retries: Family<RetryLabels, Counter>,
    pub(crate) connections: Family<SinkLabels, Counter>,
    pub(crate) in_flight: Family<SinkLabels, Gauge>,
    pub(crate) queue_batches: Family<SinkLabels, Gauge>,
    pub(crate) queue_bytes: Family<SinkLabels, Gauge>,
    pub(crate) ack_duration: Family<SinkLabels, Histogram>,
    pub(crate) degraded: Family<SinkLabels, Gauge>,
}

impl PublishMetrics {
    /// Registers everything.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let handles = Self {
            batches: Family::default(),
            events: Family::default(),
            bytes: Family::default(),
            retries: Family::default(),
            connections: Family::default(),
            in_flight: Family::default(),
            queue_batches: Family::default(),
            queue_bytes: Family::default(),
            ack_duration: Family::new_with_constructor(latency),
            degraded: Family::default(),
        };
        metrics.register(|registry| handles.register_in(registry));
        handles
    }

    fn register_in(&self, registry: &mut Registry) {
        let Self {
            batches,
            events,
            bytes,
            retries,
            connections,
            in_flight,
            queue_batches,
            queue_bytes,
            ack_duration,
            degraded,
        } = self;
        registry.register(
            "publish_batches",
            "Batches by what became of them",
            batches.clone(),
        );
        registry.register(
            "publish_events",
            "Events by what became of their batch",
            events.clone(),
        );
        registry.register(
            "publish_payload_bytes",
            "Acknowledged payload, as sent",
            bytes.clone(),
        );
        registry.register(
            "publish_retries",
            "Batches that are sent again, by reason",
            retries.clone(),
        );
        registry.register("publish_connections", "Connections made", connections.clone());
        registry.register(
            "publish_in_flight_batches",
            "Batches sent and not yet answered",
            in_flight.clone(),
        );
        registry.register(
            "publish_queue_batches",
            "Batches waiting to be sent",
            queue_batches.clone(),
        );
        registry.register(
            "publish_degraded_sinks",
            "Sinks that are degraded",
            degraded.clone(),
        );
        let help = "Memory of the batches that wait or are unanswered";
        registry.register("publish_queue_bytes", help, queue_bytes.clone());
        let help = "From sending a batch to its acknowledgement";
        registry.register("publish_ack_duration_seconds", help, ack_duration.clone());
    }
}
