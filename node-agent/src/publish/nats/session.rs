//! Publishing over one connection: a bounded window of unanswered batches, and what each answer means.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::context::{ContextBuilder, PublishError};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use weir_runtime::backoff::Backoff;
use weir_runtime::error::chain;
use weir_runtime::stream;

use super::connect::Connection;
use super::verdict::{
    ACK_TIMEOUT, Diagnosis, Failure, ensure_trouble, failure, look_at_stream, not_permitted, trouble,
};
use crate::publish::compress::compressed;
use crate::publish::credentials::{CredentialFiles, Credentials};
use crate::publish::delivery::SinkShared;
use crate::publish::pace::{Pace, WINDOW_BATCHES};
use crate::publish::queue::Taken;
use crate::publish::settings::NatsSettings;
use crate::publish::state::{Trouble, TroubleKind};

/// How long the answers to what is sent are waited for before a connection is given up on purpose.
const RENEW_GRACE: Duration = Duration::from_secs(2);
/// How often files and the connection's own numbers are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server is asked what is wrong with the stream.
const DIAGNOSIS_INTERVAL: Duration = Duration::from_secs(2);
/// How often a stream that is not as asked for is looked at again.
const STANDING_INTERVAL: Duration = Duration::from_secs(30);
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
    /// Why no stream takes the events, as the server told when it was asked.
    diagnosis: Option<Trouble>,
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
            diagnosis: None,
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
            match stream::ensure(&self.jetstream, stream).await {
                Ok(done) => {
                    tracing::info!(sink = %self.sink.settings.name, stream = stream.name, ?done, "stream");
                }
                Err(error) => {
                    self.standing = Some(ensure_trouble(&error));
                    self.diagnosis.clone_from(&self.standing);
                }
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
                () = self.sink.agent_changed() => {}
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
        let forbidden = self
            .standing
            .as_ref()
            .map(|trouble| trouble.kind == TroubleKind::NotPermitted);
        if forbidden == Some(false) {
            self.diagnose("", STANDING_INTERVAL);
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
        let Some(sealed) = self.sink.next_agent_event() else {
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
                        self.good_answer(&taken.batch.subject);
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
                        self.good_answer(&subject);
                    }
                    Err(error) => return self.agent_event_failed(seq, &subject, &error),
                }
            }
            Answer::Diagnosis(diagnosis) => {
                self.diagnosing = false;
                let ensured = self.settings.ensure.is_some();
                match diagnosis {
                    Diagnosis::Fine => {
                        self.pace.answered();
                        self.diagnosis = None;
                        if ensured && self.standing.take().is_some() {
                            self.show_health();
                        }
                    }
                    Diagnosis::Trouble(trouble) => {
                        self.standing = ensured.then(|| trouble.clone());
                        self.diagnosis = Some(trouble.clone());
                        self.sink.state.degraded(trouble);
                    }
                    Diagnosis::Unknown => {}
                }
            }
        }
        false
    }

    fn good_answer(&mut self, subject: &str) {
        self.answered = true;
        let forbidden = |trouble: &Trouble| trouble.kind == TroubleKind::NotPermitted;
        // The server's text quotes the subject.
        let permitted = |trouble: &Trouble| forbidden(trouble) && trouble.message.contains(subject);
        self.standing.take_if(|trouble| permitted(trouble));
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
                self.good_answer(&taken.batch.subject);
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
                self.agent_trouble = Some(self.trouble_of(kind, subject, error));
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
        self.sink.state.degraded(self.trouble_of(kind, subject, error));
        if kind == TroubleKind::StreamMissing {
            self.diagnose(subject, DIAGNOSIS_INTERVAL);
        }
    }

    fn trouble_of(&self, kind: TroubleKind, subject: &str, error: &PublishError) -> Trouble {
        // What the server told of its streams says more than that none took this message.
        if let Some(diagnosis) = self
            .diagnosis
            .as_ref()
            .filter(|_| kind == TroubleKind::StreamMissing)
        {
            return diagnosis.clone();
        }
        let names = (
            self.settings.stream.as_deref(),
            &*self.sink.settings.subject_prefix,
        );
        trouble(kind, subject, names, error)
    }

    /// Asks the server why nobody takes the subject, and creates the stream again where that is our part.
    fn diagnose(&mut self, subject: &str, again: Duration) {
        let now = Instant::now();
        if self.diagnosing || self.next_diagnosis.is_some_and(|time| time > now) {
            return;
        }
        self.diagnosing = true;
        self.next_diagnosis = Some(now + again);
        let (jetstream, subject) = (self.jetstream.clone(), subject.to_owned());
        let (ensured, expected) = (self.settings.ensure.clone(), self.settings.stream.clone());
        self.answers.push(Box::pin(async move {
            let diagnosis = match (ensured, expected) {
                (Some(stream), _) => match stream::ensure(&jetstream, &stream).await {
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
