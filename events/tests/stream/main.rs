//! What is written is what a consumer reads: golden files, arbitrary events, and the specification.

mod agent;
mod batch;
mod document;
mod golden;
mod property;
mod read;
mod sample;
