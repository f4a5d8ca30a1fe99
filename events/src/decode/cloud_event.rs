//! The envelope of events in JSON.

use serde::Deserialize;

use super::UnifiedEvent;

/// A `CloudEvents` 1.0 event, with the attributes that Weir writes.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// `<epoch>/<profile>/<seq>`: unique together with `source`.
    pub id: String,
    /// `/weir/<cluster>/<node>`.
    pub source: String,
    /// `dev.weir.<kind>.v1`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The event's time, RFC 3339.
    pub time: String,
    /// `application/json`.
    pub datacontenttype: String,
    /// The event.
    pub data: UnifiedEvent,
}
