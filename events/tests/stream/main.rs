//! What is written is what a consumer reads: golden files, arbitrary events, and the specification.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod agent;
mod batch;
mod document;
mod golden;
mod property;
mod read;
mod sample;
