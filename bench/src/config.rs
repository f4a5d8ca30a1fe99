//! Profiles as a user would write them.

use std::fmt::Write as _;

/// Name of the profile.
pub(crate) const PROFILE: &str = "bench";
/// Name of the stream.
pub(crate) const STREAM: &str = "weir-bench";

/// An event of kind `file.open` on one directory.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) name: String,
    /// Events per second and burst.
    pub(crate) limit: Option<(u64, u64)>,
}

impl Event {
    pub(crate) fn unlimited(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            limit: None,
        }
    }

    pub(crate) fn limited(name: impl Into<String>, rate: u64) -> Self {
        Self {
            name: name.into(),
            limit: Some((rate, (rate / 10).max(1))),
        }
    }
}

/// How events are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sink<'a> {
    pub(crate) server: &'a str,
    pub(crate) encoding: &'static str,
    pub(crate) linger_ms: Option<u32>,
    pub(crate) max_events: Option<u32>,
}

impl<'a> Sink<'a> {
    /// What a user gets who says nothing but where.
    pub(crate) const fn default(server: &'a str) -> Self {
        Self {
            server,
            encoding: "Json",
            linger_ms: None,
            max_events: None,
        }
    }
}

/// A profile that collects opens below `prefix`.
pub(crate) fn opens(mode: &str, prefix: &str, events: &[Event], sink: Sink<'_>) -> String {
    let mut text = profile(mode);
    for event in events {
        let limit = event
            .limit
            .map(|(rate, burst)| format!("limit: {{eventsPerSecond: {rate}, burst: {burst}}}, "))
            .unwrap_or_default();
        // Writing to a String cannot fail.
        writeln!(
            text,
            "    - {{name: {}, kind: file.open, {limit}match: {{paths: {{prefix: [\"{prefix}\"]}}}}}}",
            event.name
        )
        .ok();
    }
    text + &document(sink)
}

/// A profile with one unlimited event of each kind named, and everything that comes.
pub(crate) fn kinds(kinds: &[&str], sink: Sink<'_>) -> String {
    let mut text = profile("Active");
    for kind in kinds {
        // Writing to a String cannot fail.
        writeln!(text, "    - {{name: {}, kind: {kind}}}", kind.replace('.', "-")).ok();
    }
    text + &document(sink)
}

fn profile(mode: &str) -> String {
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {{name: {PROFILE}}}\nspec:\n  mode: {mode}\n  \
         sinkRef: {{name: bench}}\n  events:\n"
    )
}

fn document(sink: Sink<'_>) -> String {
    let Sink {
        server,
        encoding,
        linger_ms,
        max_events,
    } = sink;
    let mut batch = Vec::new();
    if let Some(linger) = linger_ms {
        batch.push(format!("lingerMilliseconds: {linger}"));
    }
    if let Some(events) = max_events {
        batch.push(format!("maxEvents: {events}"));
    }
    let batch = if batch.is_empty() {
        String::new()
    } else {
        format!("  batch: {{{}}}\n", batch.join(", "))
    };
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: CollectorSink\nmetadata: {{name: bench}}\nspec:\n  encoding: {encoding}\n\
         {batch}  nats:\n    servers: [\"{server}\"]\n    subjectPrefix: weir.events\n    \
         stream: {{name: {STREAM}, manage: Ensure, storage: File, maxBytes: 2Gi}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_valid() {
        let sink = Sink {
            linger_ms: Some(1),
            max_events: Some(1),
            ..Sink::default("nats://127.0.0.1:4222")
        };
        let events = [Event::unlimited("all"), Event::limited("some", 100_000)];
        for text in [
            opens("DryRun", "/tmp/x/", &events, sink),
            kinds(&["file.open", "process.exec"], sink),
        ] {
            let documents =
                weir_profile::load::load(&text).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
            assert_eq!(documents.len(), 2);
        }
    }
}
