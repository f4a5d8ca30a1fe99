//! What is wrong with a document: the field, the bound and the remedy.

use std::fmt;

use crate::api::ConditionReason;

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {message}")]
pub struct FieldError {
    /// Path of the field, such as `spec.events[2].limit.eventsPerSecond`.
    pub path: String,
    /// What is wrong, the bound, and after a semicolon the remedy.
    pub message: String,
    /// The reason that a condition gives.
    pub reason: ConditionReason,
}

impl FieldError {
    /// An error of the spec itself.
    #[must_use]
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(path, message, ConditionReason::InvalidSpec)
    }

    /// An error with a reason of its own.
    #[must_use]
    pub fn new(path: impl Into<String>, message: impl Into<String>, reason: ConditionReason) -> Self {
        Self {
            path: path.into(),
            message: message.into(),
            reason,
        }
    }
}

/// Everything that is wrong with one document; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// `Ok` when nothing is wrong.
    pub fn check(errors: Vec<FieldError>) -> Result<(), Self> {
        if errors.is_empty() {
            Ok(())
        } else {
            Err(Self(errors))
        }
    }

    /// Of a list that the caller has just added to.
    pub(crate) fn of(errors: Vec<FieldError>) -> Self {
        Self(errors)
    }

    /// The errors, in document order.
    #[must_use]
    pub fn as_slice(&self) -> &[FieldError] {
        &self.0
    }

    /// The errors, in document order.
    #[must_use]
    pub fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    /// The reason of the first error: what a condition shows.
    #[must_use]
    pub fn reason(&self) -> ConditionReason {
        self.0
            .first()
            .map_or(ConditionReason::InvalidSpec, |error| error.reason)
    }
}

impl From<FieldError> for FieldErrors {
    fn from(error: FieldError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lines(f, &self.0)
    }
}

/// One error a line.
pub(crate) fn lines(f: &mut fmt::Formatter<'_>, errors: &[impl fmt::Display]) -> fmt::Result {
    for (i, error) in errors.iter().enumerate() {
        if i > 0 {
            f.write_str("\n")?;
        }
        write!(f, "{error}")?;
    }
    Ok(())
}
