//! Keeps something on disk as it changes: after a while, so that many changes are one write, and only then.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::cache::CacheError;

/// When a write is tried again that failed: room may be free by then.
const RETRY: Duration = Duration::from_mins(1);

/// Stores `known` whenever it has changed, at most once per `pause`. Ends when nobody can change it any more. What is not
/// kept is said once while that lasts.
pub async fn keep<T, S>(what: &'static str, mut known: watch::Receiver<T>, pause: Duration, store: S)
where
    T: Clone + Send + Sync + 'static,
    S: Fn(T) -> Result<(), CacheError> + Clone + Send + 'static,
{
    let mut failing = false;
    while known.changed().await.is_ok() {
        sleep(pause).await;
        let latest = known.borrow_and_update().clone();
        let store = store.clone();
        let error = match tokio::task::spawn_blocking(move || store(latest)).await {
            Ok(Ok(())) => {
                failing = false;
                continue;
            }
            Ok(Err(error)) => weir_runtime::error::chain(&error),
            Err(error) => weir_runtime::error::chain(&error),
        };
        if !failing {
            tracing::warn!(error, what, "not kept on disk; it is tried again");
            failing = true;
        }
        sleep(RETRY).await;
        known.mark_changed();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// Scenario: a value changes a hundred times within a second, then not for an hour, then once while the disk is full.
    /// Guarantees: the changes are one write of the last one; rest is no write; what failed is written when it can be.
    #[tokio::test(start_paused = true)]
    async fn changes_are_written_together_and_what_failed_again() {
        let (change, known) = watch::channel(0);
        let written: Arc<Mutex<Vec<i32>>> = Arc::default();
        let full = Arc::new(Mutex::new(false));
        let (record, is_full) = (Arc::clone(&written), Arc::clone(&full));
        let store = move |value| {
            if *is_full.lock().unwrap() {
                return Err(CacheError::TooLarge {
                    path: "x".into(),
                    bytes: 0,
                });
            }
            record.lock().unwrap().push(value);
            Ok(())
        };
        let running = tokio::spawn(keep("a number", known, Duration::from_secs(5), store));
        for value in 1..=100 {
            change.send_replace(value);
            sleep(Duration::from_millis(10)).await;
        }
        sleep(Duration::from_hours(1)).await;
        assert_eq!(*written.lock().unwrap(), [100]);
        *full.lock().unwrap() = true;
        change.send_replace(101);
        sleep(Duration::from_mins(3)).await;
        assert_eq!(*written.lock().unwrap(), [100]);
        *full.lock().unwrap() = false;
        sleep(Duration::from_mins(2)).await;
        assert_eq!(*written.lock().unwrap(), [100, 101]);
        drop(change);
        running.await.unwrap();
    }
}
