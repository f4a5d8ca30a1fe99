//! The end of a life: everything is taken apart in the order in which it needs each other, whatever of it has failed.

use std::error::Error;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_runtime::shutdown::{Cause, Shutdown};
use weir_runtime::supervise::SuperviseError;

use super::memory::Memory;
use super::{DrainThread, END, RunError, system};
use crate::control::{Control, ControlError};
use crate::drain::CommandSender;

/// The parts that run.
pub(super) struct Running<A> {
    pub(super) control: Control,
    pub(super) drain: DrainThread,
    pub(super) drain_stop: CancellationToken,
    pub(super) commands: CommandSender,
    pub(super) admin: JoinHandle<Result<(), A>>,
    pub(super) admin_stop: CancellationToken,
    pub(super) supervised: JoinHandle<Result<(), SuperviseError>>,
    pub(super) memory: Memory,
    pub(super) shutdown: Shutdown,
}

impl<A: Error + Send + Sync + 'static> Running<A> {
    /// Takes everything apart. `outcome` is how serving ended. Of several errors the one that the others follow from is
    /// returned.
    pub(super) async fn end(self, outcome: Result<(), ControlError>) -> Result<(), RunError> {
        let Self {
            control,
            drain,
            drain_stop,
            commands,
            admin,
            admin_stop,
            supervised,
            memory,
            shutdown,
        } = self;
        // Whatever ended serving: this begins the end, if it has not begun.
        shutdown.trigger(Cause::Own);
        let deadline = shutdown.deadline().unwrap_or_else(Instant::now) - END;
        // A control side that failed may still drain what it can.
        let finished = control.finish(deadline).await;
        // At once: whatever else fails below, the next life must know that this one ended in order.
        let remembered = match &finished {
            Ok(finished) => memory.write(&finished.ledger, finished.report.agent_events_left > 0),
            Err(_) => Ok(()),
        };
        drain_stop.cancel();
        let woken = commands.wake();
        let drained = tokio::task::spawn_blocking(move || drain.join()).await;
        admin_stop.cancel();
        let served = admin.await;
        let supervised = supervised.await;

        outcome?;
        let finished = finished?;
        woken.map_err(system("end the drain thread"))?;
        if !matches!(drained, Ok(Ok(Ok(())))) {
            return Err(RunError::System {
                what: "drain the rings",
                source: "the drain thread failed".into(),
            });
        }
        supervised
            .map_err(system("supervise the parts"))?
            .map_err(system("keep all parts running"))?;
        served
            .map_err(system("end the admin server"))?
            .map_err(system("serve the admin server"))?;
        remembered?;
        tracing::info!(
            shed = finished.report.shed_events,
            closed = finished.ledger.cut.closed,
            "ended"
        );
        Ok(())
    }
}
