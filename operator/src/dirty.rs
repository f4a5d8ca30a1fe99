//! A set of names that need a visit: filled by watches, drained by one controller.
//!
//! Naming the same object twice before it is visited costs nothing, so that the set never holds more names than there
//! are objects, however fast events come.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Inner {
    names: Mutex<BTreeSet<String>>,
    notify: Notify,
}

/// The set; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DirtySet {
    inner: Arc<Inner>,
}

impl DirtySet {
    /// Names that need a visit.
    pub fn add(&self, names: impl IntoIterator<Item = String>) {
        let mut set = self.inner.names.lock().unwrap_or_else(PoisonError::into_inner);
        let before = set.len();
        set.extend(names);
        if set.len() > before {
            self.inner.notify.notify_one();
        }
    }

    /// Waits for names, then `settle` longer so that those of one burst come together, and takes them all.
    pub async fn take(&self, settle: Duration) -> BTreeSet<String> {
        loop {
            self.inner.notify.notified().await;
            tokio::time::sleep(settle).await;
            let names = std::mem::take(&mut *self.inner.names.lock().unwrap_or_else(PoisonError::into_inner));
            if !names.is_empty() {
                return names;
            }
        }
    }

    /// The names as an endless stream; `settle` is asked before each batch.
    pub fn stream<F>(&self, settle: F) -> impl Stream<Item = String> + Send + use<F>
    where
        F: Fn() -> Duration + Send,
    {
        let set = self.clone();
        futures::stream::unfold(
            (set, BTreeSet::new(), settle),
            async |(set, mut batch, settle)| {
                loop {
                    if let Some(name) = batch.pop_first() {
                        return Some((name, (set, batch, settle)));
                    }
                    batch = set.take(settle()).await;
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    /// *Scenario:* one name is added many times, another once, before anybody looks.
    /// *Guarantees:* each comes out once, and a later addition comes again.
    #[tokio::test(start_paused = true)]
    async fn dirty_set_names_added_twice_come_once() {
        let set = DirtySet::default();
        for _ in 0..100 {
            set.add(["a".to_owned()]);
        }
        set.add(["b".to_owned()]);
        let mut stream = Box::pin(set.stream(|| Duration::from_millis(100)));
        assert_eq!(stream.next().await.as_deref(), Some("a"));
        assert_eq!(stream.next().await.as_deref(), Some("b"));
        let waited = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
        assert!(waited.is_err(), "nothing was left");
        set.add(["a".to_owned()]);
        assert_eq!(stream.next().await.as_deref(), Some("a"));
    }
}
