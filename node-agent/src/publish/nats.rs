//! The `JetStream` sink: connects, publishes until the connection ends, and starts over for as long as it is wanted.
//!
//! A client lives for one connection: what it had not yet written is lost with it, so every unanswered batch is given
//! back at the end and sent again under the same id.

mod connect;
mod session;

use std::sync::Arc;
use std::time::Duration;

use weir_runtime::backoff::Backoff;

use self::connect::Servers;
use self::session::{End, Session};
use super::credentials::CredentialFiles;
use super::delivery::SinkShared;
use super::metrics::Retry;
use super::settings::NatsSettings;

const FIRST_RECONNECT: Duration = Duration::from_millis(100);
const LONGEST_RECONNECT: Duration = Duration::from_secs(30);
/// How often the credential files are compared while nothing else wakes the sink.
const CREDENTIALS_CHECK: Duration = Duration::from_secs(1);

/// Publishes until the sink is told to stop.
pub(crate) async fn run(sink: Arc<SinkShared>, settings: NatsSettings) {
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
        match connect::connect(settings, &credentials, &servers).await {
            Ok(connection) => {
                sink.connected();
                servers.learn(&connection);
                let credentials = credentials.ok();
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
        wait(backoff.next(rand::random()), &files, credentials_of(&files)).await;
    }
}

type Known = Option<super::credentials::Credentials>;

fn credentials_of(files: &CredentialFiles) -> Known {
    files.read().ok()
}

/// Waits for the next attempt; new credentials end the waiting, because they are most likely the remedy.
async fn wait(delay: Duration, files: &CredentialFiles, known: Known) {
    let until = tokio::time::Instant::now() + delay;
    loop {
        let next = until.min(tokio::time::Instant::now() + CREDENTIALS_CHECK);
        tokio::time::sleep_until(next).await;
        if next >= until || credentials_of(files) != known {
            return;
        }
    }
}
