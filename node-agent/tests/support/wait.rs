//! Waiting for a condition with a deadline.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

const DEADLINE: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(10);

/// Polls until the condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_value(what, || (), |()| condition()).await;
}

/// Polls a value until it is as wanted; the failure shows its last state.
pub async fn until_value<T: Debug>(
    what: &str,
    mut value: impl FnMut() -> T,
    mut wanted: impl FnMut(&T) -> bool,
) -> T {
    until_async(what, || std::future::ready(value()), |value| wanted(value)).await
}

/// The same with a value that takes asking.
pub async fn until_async<T: Debug, F: Future<Output = T>>(
    what: &str,
    mut value: impl FnMut() -> F,
    mut wanted: impl FnMut(&T) -> bool,
) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let last = value().await;
        if wanted(&last) {
            return last;
        }
        assert!(
            Instant::now() < deadline,
            "not within {DEADLINE:?}: {what}; last state: {last:?}"
        );
        tokio::time::sleep(INTERVAL).await;
    }
}
