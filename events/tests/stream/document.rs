//! docs/unified-event.md says of every field what the schema says, and of no other.
