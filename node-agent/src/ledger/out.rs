//! Where accepted events stand on their way out, and the moves between these places.

/// A place on the way out. `accepted` is their sum at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Out {
    /// In an open batch, or sealed and waiting to be sent.
    Queued,
    /// On disk.
    Spooled,
    /// Sent, the answer not yet here.
    Unacked,
    /// Acknowledged by the sink. Final.
    Acked,
    /// Given up under memory or disk pressure, or at shutdown. Final, announced.
    Shed,
    /// Refused by the sink for good. Final, announced.
    Rejected,
}

/// Events by place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutCounts {
    /// See [`Out::Queued`].
    pub queued: u64,
    /// See [`Out::Spooled`].
    pub spooled: u64,
    /// See [`Out::Unacked`].
    pub unacked: u64,
    /// See [`Out::Acked`].
    pub acked: u64,
    /// See [`Out::Shed`].
    pub shed: u64,
    /// See [`Out::Rejected`].
    pub rejected: u64,
}

impl OutCounts {
    /// The place's own count.
    pub fn place(&mut self, place: Out) -> &mut u64 {
        match place {
            Out::Queued => &mut self.queued,
            Out::Spooled => &mut self.spooled,
            Out::Unacked => &mut self.unacked,
            Out::Acked => &mut self.acked,
            Out::Shed => &mut self.shed,
            Out::Rejected => &mut self.rejected,
        }
    }

    /// Adds another's counts, place by place.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            queued,
            spooled,
            unacked,
            acked,
            shed,
            rejected,
        } = *other;
        self.queued += queued;
        self.spooled += spooled;
        self.unacked += unacked;
        self.acked += acked;
        self.shed += shed;
        self.rejected += rejected;
    }

    /// All of them: what was accepted.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let Self {
            queued,
            spooled,
            unacked,
            acked,
            shed,
            rejected,
        } = *self;
        queued + spooled + unacked + acked + shed + rejected
    }
}
