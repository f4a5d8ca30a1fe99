//! What every Weir binary shares: telemetry, admin server, readiness, supervision, shutdown.
