//! The `JetStream` sink: connects, publishes until the connection ends, and starts over for as long as it is wanted.
//!
//! A client lives for one connection: what it had not yet written is lost with it, so every unanswered batch is given
//! back at the end and sent again under the same id.

mod connect;
mod session;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use weir_runtime::backoff::Backoff;

use self::connect::Servers;
use self::session::{End, Session};
use super::credentials::{CredentialFiles, Credentials};
use super::delivery::SinkShared;
use super::metrics::Retry;
use super::settings::NatsSettings;

const FIRST_RECONNECT: Duration = Duration::from_millis(100);
const LONGEST_RECONNECT: Duration = Duration::from_secs(30);
/// How often the credential files are compared while nothing else wakes the sink.
const CREDENTIALS_CHECK: Duration = Duration::from_secs(1);

/// Publishes until the sink is told to stop.
pub(crate) async fn run(sink: Arc<SinkShared>, settings: Box<NatsSettings>) {
    let stop = sink.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_publishing(&sink, &settings) => {}
    }
    give_everything_back(&sink);
}

fn give_everything_back(sink: &SinkShared) {
    for taken in sink.queue.taken() {
        sink.retry(&taken, None, Retry::disconnect);
    }
}

async fn keep_publishing(sink: &SinkShared, settings: &NatsSettings) {
    let files = CredentialFiles::new(settings.credentials_dir.as_deref(), &sink.settings.name);
    let mut servers = Servers::new(&settings.servers);
    let mut backoff = Backoff::new(FIRST_RECONNECT, LONGEST_RECONNECT);
    loop {
        let credentials = files.read();
        let attempt = connect::connect(settings, &credentials, &servers).await;
        // Why they cannot be read is the attempt's own error.
        let credentials = credentials.ok();
        match attempt {
            Ok(connection) => {
                sink.connected();
                servers.learn(&connection);
                let mut session = Session::new(sink, settings, connection, &files, credentials.as_ref());
                let end = session.run().await;
                if session.was_answered() {
                    backoff.reset();
                }
                drop(session);
                give_everything_back(sink);
                tracing::info!(sink = %sink.settings.name, ?end, "connection ended");
                if end == End::Renew {
                    continue;
                }
            }
            Err(trouble) => sink.state.degraded(trouble),
        }
        wait(backoff.next(rand::random()), &files, credentials.as_ref()).await;
    }
}

/// Waits for the next attempt; other credentials than those tried end the waiting, being most likely the remedy.
async fn wait(delay: Duration, files: &CredentialFiles, tried: Option<&Credentials>) {
    let until = tokio::time::Instant::now() + delay;
    loop {
        let next = until.min(tokio::time::Instant::now() + CREDENTIALS_CHECK);
        tokio::time::sleep_until(next).await;
        if next >= until || files.read().ok().as_ref() != tried {
            return;
        }
    }
}
