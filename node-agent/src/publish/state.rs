//! What state a sink is in, and what a person can do about it.
//!
//! The state is shown by `/readyz`, by metrics and in the node's status; it decides nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use prometheus_client::metrics::gauge::Gauge;
use weir_runtime::readiness::{Readiness, State};

/// The closed set of what can be wrong with a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TroubleKind {
    /// No server answers.
    Unreachable,
    /// No server name resolves.
    Unresolvable,
    /// TLS cannot be established.
    Tls,
    /// The server refuses the credentials.
    WrongCredentials,
    /// Credentials are asked for and not there yet.
    CredentialsMissing,
    /// The credential files cannot be used.
    BadCredentials,
    /// The server or account has no `JetStream`.
    JetStreamOff,
    /// No stream takes the events.
    StreamMissing,
    /// The stream exists but does not take the subject.
    SubjectNotTaken,
    /// The stream exists with settings that must not be changed to those asked for.
    StreamConflict,
    /// The stream or its account is full.
    StreamFull,
    /// The credentials do not allow publishing the subject.
    NotPermitted,
    /// Nothing is acknowledged in time.
    NoAck,
    /// The server cannot take messages at the moment.
    Unavailable,
    /// The disk is full.
    DiskFull,
    /// The output cannot be written.
    CannotWrite,
    /// Whoever read the output has gone.
    OutputClosed,
}

impl TroubleKind {
    /// The kind as a condition reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "Unreachable",
            Self::Unresolvable => "Unresolvable",
            Self::Tls => "TlsFailed",
            Self::WrongCredentials => "WrongCredentials",
            Self::CredentialsMissing => "CredentialsNotMounted",
            Self::BadCredentials => "BadCredentials",
            Self::JetStreamOff => "JetStreamNotEnabled",
            Self::StreamMissing => "StreamMissing",
            Self::SubjectNotTaken => "SubjectNotTaken",
            Self::StreamConflict => "StreamConflict",
            Self::StreamFull => "StreamFull",
            Self::NotPermitted => "NotPermitted",
            Self::NoAck => "NoAck",
            Self::Unavailable => "Unavailable",
            Self::DiskFull => "DiskFull",
            Self::CannotWrite => "CannotWrite",
            Self::OutputClosed => "OutputClosed",
        }
    }
}

/// What is wrong, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its kind.
    pub kind: TroubleKind,
    /// What happened, for a person.
    pub message: String,
    /// What to do, for a person.
    pub remedy: String,
}

/// A sink's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkState {
    /// Not connected yet, and nothing has failed yet.
    Connecting,
    /// Connected; the last answer was good.
    Live,
    /// Something is wrong; batches are kept and retried.
    Degraded {
        /// What and what to do.
        trouble: Trouble,
        /// Since when.
        since: SystemTime,
    },
}

/// Holds one sink's state and shows every change of it.
#[derive(Debug)]
pub(crate) struct StateCell {
    component: String,
    sink: Arc<str>,
    readiness: Readiness,
    state: Mutex<SinkState>,
    /// How many sinks of this type are degraded.
    degraded: Gauge,
}

impl StateCell {
    pub(crate) fn new(sink: Arc<str>, readiness: Readiness, degraded: Gauge) -> Self {
        let component = format!("sink/{sink}");
        readiness.set(&component, State::Starting, SystemTime::now());
        Self {
            component,
            sink,
            readiness,
            state: Mutex::new(SinkState::Connecting),
            degraded,
        }
    }

    pub(crate) fn get(&self) -> SinkState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn live(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != SinkState::Live {
            tracing::info!(sink = %self.sink, "sink is live");
            self.recovered(&state);
            *state = SinkState::Live;
            self.readiness
                .set(&self.component, State::Live, SystemTime::now());
        }
    }

    /// Degraded from now on; trouble of the same kind again keeps its first time and is not logged again.
    pub(crate) fn degraded(&self, trouble: Trouble) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = SystemTime::now();
        let since = match &*state {
            SinkState::Degraded {
                trouble: known,
                since,
            } if known.kind == trouble.kind => *since,
            known => {
                if !matches!(known, SinkState::Degraded { .. }) {
                    self.degraded.inc();
                }
                let reason = trouble.kind.as_str();
                tracing::warn!(sink = %self.sink, reason, remedy = trouble.remedy, "sink is degraded: {}", trouble.message);
                now
            }
        };
        let reason = format!("{}: {}", trouble.kind.as_str(), trouble.message);
        let remedy = trouble.remedy.clone();
        *state = SinkState::Degraded { trouble, since };
        self.readiness
            .set(&self.component, State::Degraded { reason, remedy }, since);
    }

    fn recovered(&self, before: &SinkState) {
        if matches!(before, SinkState::Degraded { .. }) {
            self.degraded.dec();
        }
    }

    /// The sink is no more. `shown_by_another` if one of the same name has taken its place.
    pub(crate) fn remove(&self, shown_by_another: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.recovered(&state);
        *state = SinkState::Connecting;
        if shown_by_another {
            return;
        }
        self.readiness.remove(&self.component);
    }
}
