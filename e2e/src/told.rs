//! What Weir says of trouble where people look: Events, and lines of the operator's log.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::operator;
use crate::wait::{Probe, WaitError, until};

/// Waits for an Event about an object of that name, cluster-scoped ones in the namespace `default`.
pub async fn until_event(
    cluster: &Cluster,
    name: &str,
    reason: &str,
    words: &str,
    limit: Duration,
) -> Result<(), WaitError> {
    let selector = format!("--field-selector=involvedObject.name={name},reason={reason}");
    let what = format!("an Event {reason} about {name} with the words {words:?}");
    until(&what, limit, || async {
        let events = [
            "get",
            "events",
            &selector,
            "--output=jsonpath={.items[*].message}",
        ];
        let notes = cluster.kubectl(events).await;
        notes.map(|notes| Probe::when(notes.contains(words), (), notes))
    })
    .await
}

/// Waits for a line with all these words in the log of an operator.
pub async fn until_logged(cluster: &Cluster, words: &[&str], limit: Duration) -> Result<(), WaitError> {
    until(&format!("a log line with {words:?}"), limit, || async {
        let log = operator::log(cluster).await;
        log.map(|log| {
            let line = log
                .lines()
                .any(|line| words.iter().all(|word| line.contains(word)));
            Probe::when(line, (), "no such line")
        })
    })
    .await
}

/// Waits for an Event about an object, and for a line with its name and the same words in the log of an operator.
pub async fn until_told(
    cluster: &Cluster,
    name: &str,
    reason: &str,
    words: &str,
    limit: Duration,
) -> Result<(), WaitError> {
    until_event(cluster, name, reason, words, limit).await?;
    until_logged(cluster, &[name, words], limit).await
}
