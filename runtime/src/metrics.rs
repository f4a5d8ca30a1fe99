//! The process's metrics registry and its `OpenMetrics` text.
//!
//! Owners register their own metrics here and keep handles; this module never interprets a value.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Content type of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the metrics cannot be rendered.
#[derive(Debug, thiserror::Error)]
#[error("rendering the metrics failed")]
pub struct EncodeError(#[from] std::fmt::Error);

/// A shared registry whose metrics are all named `weir_<component>_...`.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// A registry for one component (`agent`, `operator`), with `weir_<component>_build_info`.
    #[must_use]
    pub fn new(component: &str, version: &'static str) -> Self {
        let mut registry = Registry::with_prefix(format!("weir_{component}"));
        registry.register(
            "build",
            "What this binary is",
            Info::new(vec![("version", version)]),
        );
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Lets the caller register what it measures. Names come without the `weir_<component>_` prefix, without the
    /// `_total` suffix of counters.
    pub fn register<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The current values as `OpenMetrics` text.
    pub fn encode(&self) -> Result<String, EncodeError> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn metrics_registered_are_rendered_with_the_component_prefix() {
        let metrics = Metrics::new("agent", "1.2.3");
        let counter: Counter = Counter::default();
        metrics.register(|registry| registry.register("batches", "Batches", counter.clone()));
        counter.inc_by(7);
        let text = metrics.encode().expect("encodes");
        assert!(text.contains("weir_agent_batches_total 7\n"), "{text}");
        assert!(
            text.contains("weir_agent_build_info{version=\"1.2.3\"} 1\n"),
            "{text}"
        );
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
