//! What a life leaves to the next one: writes each cut to the state directory.

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weir_events::agent::AgentLedger;
use weir_runtime::error::chain;

use crate::control::view::View;
use crate::state::{Remembered, StateDir, StateError};

/// Where and of whom something is remembered.
#[derive(Clone)]
pub(super) struct Memory {
    pub(super) state: Arc<StateDir>,
    pub(super) epoch: u64,
    pub(super) view: View,
}

impl Memory {
    /// Writes each cut as it is made. A full disk must not end collection: the last cut that is remembered is then older,
    /// and so it is told.
    pub(super) async fn follow(self, stop: CancellationToken) -> Result<(), Infallible> {
        let mut cuts = self.view.ledgers();
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = cuts.changed() => if changed.is_err() {
                    stop.cancelled().await;
                    return Ok(());
                }
            }
            let ledger = cuts.borrow_and_update().clone();
            match ledger.map(|ledger| self.write(&ledger, false)) {
                None => {}
                Some(Ok(())) => failing = false,
                Some(Err(_)) if failing => {}
                Some(Err(error)) => {
                    tracing::warn!(error = chain(&error), "cannot remember the last cut");
                    failing = true;
                }
            }
        }
    }

    /// Writes one cut. `untold` when it is the final one and did not reach every sink.
    pub(super) fn write(&self, ledger: &AgentLedger, untold: bool) -> Result<(), StateError> {
        self.state.write(&Remembered {
            epoch: self.epoch,
            next_seq: self.view.next_seq(),
            ledger: Some(ledger.clone()),
            untold,
        })
    }
}
