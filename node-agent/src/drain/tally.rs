//! Counts of the present round, handed to the ledger at its end in one go.

use std::sync::Arc;

use crate::ledger::{Drained, Ledger, RowId};

/// Counts by row and parity of the cut.
pub(super) struct Tally {
    ledger: Arc<Ledger>,
    rows: Vec<[(u32, Drained); 2]>,
    touched: Vec<(RowId, u32)>,
}

impl Tally {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            rows: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// The row's counts under the cut.
    pub(super) fn of(&mut self, row: RowId, cut: u32) -> &mut Drained {
        let index = row.0 as usize;
        if self.rows.len() <= index {
            self.rows.resize(index + 1, [(0, Drained::default()); 2]);
        }
        // At most two cuts are open, and a held record of an older one is told apart by its number.
        if self.rows[index][(cut & 1) as usize].0 != cut {
            if self.rows[index][(cut & 1) as usize].1 != Drained::default() {
                self.flush();
            }
            self.rows[index][(cut & 1) as usize].0 = cut;
        }
        let counts = &mut self.rows[index][(cut & 1) as usize].1;
        if *counts == Drained::default() {
            self.touched.push((row, cut));
        }
        counts
    }

    /// Hands everything to the ledger. Must come before any batch with these events is pushed.
    pub(super) fn flush(&mut self) {
        if self.touched.is_empty() {
            return;
        }
        let Self {
            ledger,
            rows,
            touched,
        } = self;
        ledger.drained(touched.drain(..).map(|(row, cut)| {
            let counts = std::mem::take(&mut rows[row.0 as usize][(cut & 1) as usize].1);
            (row, cut, counts)
        }));
    }
}
