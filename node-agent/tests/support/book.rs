//! A ledger for tests: it counts, and refuses a move of what is not there.

use std::sync::Mutex;

use weir_node_agent::ledger::{Out, OutCounts, SlotCount};
use weir_node_agent::publish::{Loss, Outcomes};

#[derive(Default)]
pub struct Book {
    inner: Mutex<(OutCounts, Vec<Loss>)>,
}

impl Book {
    /// The events of a batch that is about to be pushed.
    pub fn queued(&self, events: u32) {
        self.inner.lock().expect("no test panicked").0.queued += u64::from(events);
    }

    pub fn counts(&self) -> OutCounts {
        self.inner.lock().expect("no test panicked").0
    }

    pub fn losses(&self) -> Vec<Loss> {
        self.inner.lock().expect("no test panicked").1.clone()
    }
}

impl Outcomes for Book {
    fn moved(&self, counts: &[SlotCount], from: Out, to: Out) {
        let mut inner = self.inner.lock().expect("no test panicked");
        for count in counts {
            let events = u64::from(count.events);
            let place = inner.0.place(from);
            *place = place.checked_sub(events).expect("what moves was there");
            *inner.0.place(to) += events;
        }
    }

    fn lost(&self, loss: Loss) {
        self.inner.lock().expect("no test panicked").1.push(loss);
    }
}
