//! UnifiedEvent: schema, encoders, subjects; no I/O.
