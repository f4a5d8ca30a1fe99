//! What a server says it forbids: it tells so beside the request, which it leaves unanswered.

use std::fmt;

use async_nats::{Event, ServerError};
use tokio::sync::watch;

/// Something that the user may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// Publish this subject.
    Publish(String),
    /// Subscribe to this one.
    Subscribe(String),
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "the user may not publish `{subject}`"),
            Self::Subscribe(subject) => write!(f, "the user may not subscribe to `{subject}`"),
        }
    }
}

impl Denial {
    /// `Permissions Violation for Publish to "$JS.API.STREAM.INFO.WEIR"`
    fn of(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        if !lower.contains("permissions violation") {
            return None;
        }
        let subject = text.split('"').nth(1).unwrap_or("(not told)");
        Some(if lower.contains("subscription") {
            // An inbox has a random name, which would make another message of every attempt.
            let inbox = subject.starts_with("_INBOX.");
            Self::Subscribe(if inbox { "_INBOX.>" } else { subject }.to_owned())
        } else {
            Self::Publish(subject.to_owned())
        })
    }
}

/// Hears of denials on one connection.
#[derive(Debug)]
pub(super) struct Denials(watch::Receiver<Option<Denial>>);

impl Denials {
    /// Both ends: the connection's events are passed to the first.
    pub(super) fn channel() -> (impl Fn(&Event) + Send + Sync + 'static, Self) {
        let (tell, hear) = watch::channel(None);
        let listen = move |event: &Event| {
            if let Event::ServerError(ServerError::Other(text)) = event
                && let Some(denial) = Denial::of(text)
            {
                tell.send_replace(Some(denial));
            }
        };
        (listen, Self(hear))
    }

    /// Waits for the first.
    pub(super) async fn told(&mut self) -> Denial {
        match self.0.wait_for(Option::is_some).await.map(|told| told.clone()) {
            Ok(Some(denial)) => denial,
            // The connection is gone, and tells nothing any more.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denial_is_read_from_the_servers_words() {
        for (text, denial) in [
            (
                "Permissions Violation for Publish to \"$JS.API.STREAM.INFO.WEIR\"",
                Some(Denial::Publish("$JS.API.STREAM.INFO.WEIR".to_owned())),
            ),
            (
                "Permissions Violation for Subscription to \"_INBOX.3nzk.*\"",
                Some(Denial::Subscribe("_INBOX.>".to_owned())),
            ),
            ("Stale Connection", None),
        ] {
            assert_eq!(Denial::of(text), denial, "{text}");
        }
    }
}
