//! Publishing over one connection: a bounded window of unanswered batches, and what each answer means.

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{ContextBuilder, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::{self, Context};
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use weir_runtime::backoff::Backoff;

use super::connect::{Connection, chain};
use crate::publish::codes::{Verdict, verdict};
use crate::publish::compress::compressed;
use crate::publish::credentials::{CredentialFiles, Credentials};
use crate::publish::delivery::SinkShared;
use crate::publish::ensure::{self, EnsureError, covers, is_missing};
use crate::publish::metrics::Retry;
use crate::publish::outcome::LossReason;
use crate::publish::pace::{Pace, WINDOW_BATCHES};
use crate::publish::queue::Taken;
use crate::publish::settings::NatsSettings;
use crate::publish::state::{Trouble, TroubleKind};

/// How long an acknowledgement is waited for: `JetStream`'s own clients use the same.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the answers to what is sent are waited for before a connection is given up on purpose.
const RENEW_GRACE: Duration = Duration::from_secs(2);
/// How often files and the connection's own numbers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server is asked what is wrong with the stream.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The connection is gone.
    Lost,
    /// A new connection is wanted at once: new credentials, or the server is leaving.
    Renew,
}

enum Answer {
    Batch {
        taken: Taken,
        sent: Instant,
        result: Result<PublishAck, PublishError>,
    },
    Agent {
        seq: u64,
        subject: String,
        result: Result<PublishAck, PublishError>,
    },
    Diagnosis(Diagnosis),
}

/// What asking the server about the stream found.
enum Diagnosis {
    /// The stream is there and takes the subject.
    Fine,
    /// What is wrong.
    Trouble(Trouble),
    /// It cannot be told.
    Unknown,
}

enum Failure {
    Reject(LossReason),
    Retry(TroubleKind, Retry),
    Lost,
}

pub(super) struct Session<'a> {
    sink: &'a SinkShared,
    settings: &'a NatsSettings,
    connection: Connection,
    files: &'a CredentialFiles,
    credentials: Option<&'a Credentials>,
    jetstream: Context,
    answers: FuturesUnordered<LocalBoxFuture<'static, Answer>>,
    in_flight: (usize, usize),
    pace: Pace,
    answered: bool,
    agent_sending: bool,
    agent_attempt: u32,
    agent_not_before: Option<Instant>,
    agent_trouble: Option<Trouble>,
    /// Trouble that an acknowledgement does not end.
    standing: Option<Trouble>,
    diagnosing: bool,
    next_diagnosis: Option<Instant>,
    renew_until: Option<Instant>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        sink: &'a SinkShared,
        settings: &'a NatsSettings,
        connection: Connection,
        files: &'a CredentialFiles,
        credentials: Option<&'a Credentials>,
    ) -> Self {
        let jetstream = ContextBuilder::new()
            .timeout(ACK_TIMEOUT)
            .max_ack_inflight(2 * WINDOW_BATCHES)
            .backpressure_on_inflight(true)
            .build(connection.client.clone());
        Self {
            sink,
            settings,
            connection,
            files,
            credentials,
            jetstream,
            answers: FuturesUnordered::new(),
            in_flight: (0, 0),
            pace: Pace::new(),
            answered: false,
            agent_sending: false,
            agent_attempt: 0,
            agent_not_before: None,
            agent_trouble: None,
            standing: None,
            diagnosing: false,
            next_diagnosis: None,
            renew_until: None,
        }
    }

    /// Whether anything was acknowledged.
    pub(super) fn was_answered(&self) -> bool {
        self.answered
    }

    pub(super) async fn run(&mut self) -> End {
        self.sink
            .set_server_max_payload(self.connection.client.max_payload());
        if let Some(stream) = &self.settings.ensure {
            match ensure::ensure(&self.jetstream, stream).await {
                Ok(done) => {
                    tracing::info!(sink = %self.sink.settings.name, stream = stream.name, ?done, "stream")
                }
                Err(error) => self.standing = Some(ensure_trouble(&error)),
            }
        }
        self.show_health();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        loop {
            let now = tokio::time::Instant::now().into_std();
            if let Some(until) = self.renew_until
                && (self.answers.is_empty() || until <= now)
            {
                return End::Renew;
            }
            self.send_all(now);
            let lost = self.connection.signals.lost.clone();
            let wake = self.wake_at(now);
            tokio::select! {
                biased;
                () = lost.cancelled() => return End::Lost,
                Some(answer) = self.answers.next(), if !self.answers.is_empty() => {
                    if self.take_answer(answer) {
                        return End::Lost;
                    }
                }
                () = self.sink.queue.changed() => {}
                () = self.sink.agent.changed() => {}
                () = sleep_until(wake) => {}
                _ = look.tick() => if self.look(now) { return End::Lost },
            }
        }
    }

    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let later = |time: &Instant| *time > now;
        let resume = self.pace.resume_at(now);
        let retry = self.sink.queue.next_retry().filter(later);
        let agent = self.agent_not_before.filter(later);
        [resume, retry, agent, self.renew_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks at what no event tells. True if the connection is not the one that this session began with.
    fn look(&mut self, now: Instant) -> bool {
        self.sink
            .set_server_max_payload(self.connection.client.max_payload());
        if let Some(text) = self.connection.signals.take_refused() {
            self.standing = Some(not_permitted(&text));
            self.show_health();
        }
        // Files that cannot be used at the moment are no reason to give up a connection that works.
        let rotated = self.files.read().is_ok_and(|now| Some(&now) != self.credentials);
        if self.renew_until.is_none() && (rotated || self.connection.signals.leaving.load(Ordering::Relaxed))
        {
            tracing::info!(sink = %self.sink.settings.name, rotated, "connecting anew");
            self.renew_until = Some(now + RENEW_GRACE);
        }
        self.connection
            .client
            .statistics()
            .connects
            .load(Ordering::Relaxed)
            > 1
    }

    fn send_all(&mut self, now: Instant) {
        if self.renew_until.is_some() {
            return;
        }
        self.send_agent_event(now);
        while self.pace.allows(now, self.in_flight.0, self.in_flight.1) {
            let Some(taken) = self.sink.take(now) else { return };
            self.send(taken);
        }
    }

    fn send(&mut self, mut taken: Taken) {
        if self.settings.compress {
            taken.batch = compressed(&taken.batch);
            self.sink.queue.replace(taken.ticket, taken.batch.clone());
        }
        let batch = &taken.batch;
        let message = self
            .message(&batch.message_id, &batch.headers)
            .payload(batch.payload.clone());
        let subject = batch.subject.to_string();
        self.in_flight.0 += 1;
        self.in_flight.1 += taken.bytes;
        let (jetstream, sent) = (self.jetstream.clone(), Instant::now());
        self.answers.push(Box::pin(async move {
            let result = publish(jetstream, subject, message).await;
            Answer::Batch { taken, sent, result }
        }));
    }

    fn send_agent_event(&mut self, now: Instant) {
        if self.agent_sending || self.agent_not_before.is_some_and(|time| time > now) {
            return;
        }
        let Some(sealed) = self.sink.agent.next(&self.sink.settings) else {
            return;
        };
        let message = self.message(&sealed.message.message_id, &sealed.message.headers);
        let message = message.payload(sealed.message.payload.clone());
        let (jetstream, subject) = (self.jetstream.clone(), sealed.message.subject.clone());
        self.agent_sending = true;
        self.answers.push(Box::pin(async move {
            let result = publish(jetstream, subject.clone(), message).await;
            Answer::Agent {
                seq: sealed.seq,
                subject,
                result,
            }
        }));
    }

    fn message(&self, id: &str, headers: &[(&'static str, String)]) -> PublishMessage {
        let mut message = PublishMessage::build().message_id(id);
        if let Some(stream) = &self.settings.stream {
            message = message.expected_stream(stream);
        }
        for (name, value) in headers {
            message = message.header(*name, value.as_str());
        }
        message
    }

    /// True if the answer says that the connection is gone.
    fn take_answer(&mut self, answer: Answer) -> bool {
        match answer {
            Answer::Batch { taken, sent, result } => {
                self.in_flight.0 -= 1;
                self.in_flight.1 -= taken.bytes;
                match result {
                    Ok(ack) => {
                        self.sink.acked(taken.ticket, ack.duplicate, sent);
                        self.good_answer();
                    }
                    Err(error) => return self.batch_failed(&taken, &error),
                }
            }
            Answer::Agent { seq, subject, result } => {
                self.agent_sending = false;
                match result {
                    Ok(_) => {
                        self.sink.agent.settle(seq);
                        self.agent_attempt = 0;
                        self.agent_not_before = None;
                        self.agent_trouble = None;
                        self.good_answer();
                    }
                    Err(error) => return self.agent_event_failed(seq, &subject, &error),
                }
            }
            Answer::Diagnosis(diagnosis) => {
                self.diagnosing = false;
                match diagnosis {
                    Diagnosis::Fine => self.pace.answered(),
                    Diagnosis::Trouble(trouble) => self.sink.state.degraded(trouble),
                    Diagnosis::Unknown => {}
                }
            }
        }
        false
    }

    fn good_answer(&mut self) {
        self.answered = true;
        self.pace.answered();
        self.show_health();
    }

    fn show_health(&self) {
        match self.standing.as_ref().or(self.agent_trouble.as_ref()) {
            Some(trouble) => self.sink.state.degraded(trouble.clone()),
            None => self.sink.state.live(),
        }
    }

    fn batch_failed(&mut self, taken: &Taken, error: &PublishError) -> bool {
        let now = Instant::now();
        match failure(error) {
            Failure::Lost => true,
            Failure::Reject(reason) => {
                tracing::debug!(error = chain(error), "refused");
                self.sink.rejected(taken.ticket, reason);
                // The sink as a whole answers.
                self.good_answer();
                false
            }
            Failure::Retry(kind, reason) => {
                let delay = Backoff::delay(FIRST_RETRY, LONGEST_RETRY, taken.attempt, rand::random());
                self.sink.retry(taken, Some(now + delay), reason);
                self.pace.failed(now, rand::random());
                self.degraded(kind, &taken.batch.subject, error);
                false
            }
        }
    }

    fn agent_event_failed(&mut self, seq: u64, subject: &str, error: &PublishError) -> bool {
        match failure(error) {
            Failure::Lost => return true,
            Failure::Reject(reason) => {
                let reason = reason.as_str();
                tracing::error!(sink = %self.sink.settings.name, subject, reason, "the sink refuses an agent event for good");
                self.sink.agent.settle(seq);
            }
            Failure::Retry(kind, _) => {
                let delay = Backoff::delay(FIRST_RETRY, LONGEST_RETRY, self.agent_attempt, rand::random());
                self.agent_attempt = self.agent_attempt.saturating_add(1);
                self.agent_not_before = Some(Instant::now() + delay);
                self.agent_trouble = Some(self.trouble(kind, subject, error));
                self.degraded(kind, subject, error);
            }
        }
        false
    }

    fn degraded(&mut self, kind: TroubleKind, subject: &str, error: &PublishError) {
        if kind == TroubleKind::NoAck
            && let Some(text) = self.connection.signals.take_refused()
        {
            self.standing = Some(not_permitted(&text));
            self.show_health();
            return;
        }
        self.sink.state.degraded(self.trouble(kind, subject, error));
        if kind == TroubleKind::StreamMissing {
            self.diagnose(subject);
        }
    }

    fn trouble(&self, kind: TroubleKind, subject: &str, error: &PublishError) -> Trouble {
        let stream = self.settings.stream.as_deref().unwrap_or("(any)");
        let (message, remedy) = match kind {
            TroubleKind::StreamMissing => (
                format!("no stream takes `{subject}`; expected is the stream `{stream}`"),
                format!(
                    "create the stream `{stream}` with the subject `{}.>`",
                    self.sink.settings.subject_prefix
                ),
            ),
            TroubleKind::JetStreamOff => (
                chain(error),
                "start nats-server with JetStream (-js), or enable it for the account".to_owned(),
            ),
            TroubleKind::StreamFull => (
                chain(error),
                format!(
                    "raise the limits of the stream `{stream}` or of its account, or free disk on the server"
                ),
            ),
            TroubleKind::NoAck => (
                format!(
                    "no acknowledgement for `{subject}` within {} s",
                    ACK_TIMEOUT.as_secs()
                ),
                "look at the server's load and disk, and at the user's publish permissions".to_owned(),
            ),
            _ => (
                chain(error),
                "look at the server's log; sending is tried again".to_owned(),
            ),
        };
        Trouble {
            kind,
            message,
            remedy,
        }
    }

    /// Asks the server why nobody takes the subject, and creates the stream again where that is our part.
    fn diagnose(&mut self, subject: &str) {
        let now = Instant::now();
        if self.diagnosing || self.next_diagnosis.is_some_and(|time| time > now) {
            return;
        }
        self.diagnosing = true;
        self.next_diagnosis = Some(now + DIAGNOSIS_INTERVAL);
        let (jetstream, subject) = (self.jetstream.clone(), subject.to_owned());
        let (ensured, expected) = (self.settings.ensure.clone(), self.settings.stream.clone());
        self.answers.push(Box::pin(async move {
            let diagnosis = match (ensured, expected) {
                (Some(stream), _) => match ensure::ensure(&jetstream, &stream).await {
                    Ok(_) => Diagnosis::Fine,
                    Err(error) => Diagnosis::Trouble(ensure_trouble(&error)),
                },
                (None, Some(stream)) => look_at_stream(&jetstream, &stream, &subject).await,
                (None, None) => Diagnosis::Unknown,
            };
            Answer::Diagnosis(diagnosis)
        }));
    }
}

async fn publish(
    jetstream: Context,
    subject: String,
    message: PublishMessage,
) -> Result<PublishAck, PublishError> {
    jetstream.send_publish(subject, message).await?.await
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn look_at_stream(jetstream: &Context, stream: &str, subject: &str) -> Diagnosis {
    match jetstream.get_stream(stream).await {
        Ok(found) => {
            let subjects = &found.cached_info().config.subjects;
            if subjects.iter().any(|filter| covers(filter, subject)) {
                return Diagnosis::Fine;
            }
            Diagnosis::Trouble(Trouble {
                kind: TroubleKind::SubjectNotTaken,
                message: format!("the stream `{stream}` takes {subjects:?}, and not `{subject}`"),
                remedy: format!(
                    "add the subject to the stream `{stream}`, or change the sink's subject prefix"
                ),
            })
        }
        Err(error) if is_missing(&error) => Diagnosis::Trouble(Trouble {
            kind: TroubleKind::StreamMissing,
            message: format!("the stream `{stream}` does not exist; `{subject}` has nowhere to go"),
            remedy: format!(
                "create the stream `{stream}`, or let the sink manage it (`stream.manage: Ensure`)"
            ),
        }),
        // A publish-only user may not look; the first trouble stands.
        Err(_) => Diagnosis::Unknown,
    }
}

fn not_permitted(text: &str) -> Trouble {
    Trouble {
        kind: TroubleKind::NotPermitted,
        message: text.to_owned(),
        remedy: "allow the user to publish the subject, and to subscribe to its inbox `_INBOX.>`".to_owned(),
    }
}

fn ensure_trouble(error: &EnsureError) -> Trouble {
    let (kind, remedy) = match (error, error.code().map(verdict)) {
        (EnsureError::Conflict { .. }, _) => (
            TroubleKind::StreamConflict,
            "ask for what the stream has, or change the stream by hand; Weir never shrinks or replaces one",
        ),
        (_, Some(Verdict::Retry(TroubleKind::JetStreamOff))) => (
            TroubleKind::JetStreamOff,
            "start nats-server with JetStream (-js), or enable it for the account",
        ),
        (_, Some(Verdict::Retry(TroubleKind::StreamFull))) => (
            TroubleKind::StreamFull,
            "ask for a smaller stream, or raise the limits of the account or server",
        ),
        (EnsureError::Look { .. }, None) => (
            TroubleKind::JetStreamOff,
            "start nats-server with JetStream (-js), or let the user publish to `$JS.API.>`",
        ),
        _ => (
            TroubleKind::StreamMissing,
            "create the stream by hand, or correct the sink's stream settings",
        ),
    };
    Trouble {
        kind,
        message: chain(error),
        remedy: remedy.to_owned(),
    }
}

fn failure(error: &PublishError) -> Failure {
    let source = error.source();
    let answered = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
    let refused = source.and_then(|source| source.downcast_ref::<async_nats::PublishError>());
    match (error.kind(), answered) {
        (_, Some(answer)) => match verdict(answer.error_code()) {
            Verdict::Reject(reason) => Failure::Reject(reason),
            Verdict::Retry(kind) => Failure::Retry(kind, Retry::refused),
        },
        (PublishErrorKind::BrokenPipe, None) => Failure::Lost,
        (PublishErrorKind::TimedOut, None) => Failure::Retry(TroubleKind::NoAck, Retry::timeout),
        (PublishErrorKind::StreamNotFound, None) => {
            Failure::Retry(TroubleKind::StreamMissing, Retry::refused)
        }
        (PublishErrorKind::MaxPayloadExceeded, None) => Failure::Reject(LossReason::TooLarge),
        _ if refused
            .is_some_and(|error| error.kind() == async_nats::client::PublishErrorKind::InvalidSubject) =>
        {
            Failure::Reject(LossReason::SubjectRefused)
        }
        _ => Failure::Retry(TroubleKind::Unavailable, Retry::refused),
    }
}
