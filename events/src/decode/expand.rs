//! Joins the events of a batch with what the batch holds for them.

use super::{EventBatch, EventId, UnifiedEvent, Workload};

/// How a batch can contradict itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// It does not hold what it says.
    #[error("field count is {count}, but there are {events} events: the message is cut or damaged")]
    Count {
        /// What it says.
        count: u32,
        /// What it holds.
        events: usize,
    },
    /// Sequence numbers do not fit.
    #[error("field base is {base}: the sequence numbers of {events} events from there exceed 2^64 - 1")]
    Sequence {
        /// The first.
        base: u64,
        /// How many.
        events: usize,
    },
    /// An event names a workload that is not there.
    #[error("field events[{event}].workload_index is {index}, but there are {workloads} workloads")]
    WorkloadIndex {
        /// The event's place, from 0.
        event: usize,
        /// What it names, from 1.
        index: u32,
        /// How many there are.
        workloads: usize,
    },
}

impl EventBatch {
    /// The events, each with all of its fields, in order.
    pub fn expand(self) -> Result<Vec<UnifiedEvent>, ExpandError> {
        let Self {
            cluster,
            node,
            epoch,
            profile,
            base,
            count,
            kind,
            class,
            severity,
            event,
            generation,
            workloads,
            events,
        } = self;
        let found = events.len();
        if u32::try_from(found) != Ok(count) {
            return Err(ExpandError::Count { count, events: found });
        }
        let mut expanded = Vec::with_capacity(found);
        for (place, mut own) in events.into_iter().enumerate() {
            let seq = base
                .checked_add(place as u64)
                .ok_or(ExpandError::Sequence { base, events: found })?;
            own.id = Some(EventId {
                node: node.clone(),
                epoch,
                profile: profile.clone(),
                seq,
            });
            fill(&mut own.cluster, &cluster);
            fill(&mut own.node, &node);
            fill(&mut own.profile, &profile);
            fill(&mut own.kind, &kind);
            if own.class == 0 {
                own.class = class;
            }
            if own.severity == 0 {
                own.severity = severity;
            }
            own.event = own.event.or_else(|| event.clone());
            own.generation = own.generation.or(generation);
            if let Some(workload) = named(&workloads, own.workload_index, place)? {
                own.workload = Some(workload.clone());
            }
            own.workload_index = 0;
            expanded.push(own);
        }
        Ok(expanded)
    }
}

fn fill(own: &mut String, common: &str) {
    if own.is_empty() {
        common.clone_into(own);
    }
}

fn named(workloads: &[Workload], index: u32, event: usize) -> Result<Option<&Workload>, ExpandError> {
    let Some(place) = index.checked_sub(1) else {
        return Ok(None);
    };
    let found = usize::try_from(place).ok().and_then(|place| workloads.get(place));
    found.map(Some).ok_or(ExpandError::WorkloadIndex {
        event,
        index,
        workloads: workloads.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(events: Vec<UnifiedEvent>) -> EventBatch {
        EventBatch {
            count: u32::try_from(events.len()).unwrap(),
            base: 5,
            events,
            ..EventBatch::default()
        }
    }

    #[test]
    fn an_events_own_fields_win_over_the_batchs() {
        let own = UnifiedEvent {
            kind: "file.open".into(),
            generation: Some(0),
            ..UnifiedEvent::default()
        };
        let common = EventBatch {
            kind: "process.exec".into(),
            generation: Some(7),
            event: Some("execs".into()),
            ..batch(vec![own, UnifiedEvent::default()])
        };
        let expanded = common.expand().unwrap();
        assert_eq!(
            (expanded[0].kind.as_str(), expanded[0].generation),
            ("file.open", Some(0))
        );
        assert_eq!(
            (expanded[1].kind.as_str(), expanded[1].generation),
            ("process.exec", Some(7))
        );
        assert_eq!(expanded[0].event.as_deref(), Some("execs"));
        assert_eq!(expanded[1].id.as_ref().map(|id| id.seq), Some(6));
    }

    #[test]
    fn contradictions_are_named() {
        let short = EventBatch {
            count: 3,
            ..batch(vec![UnifiedEvent::default()])
        };
        assert_eq!(short.expand(), Err(ExpandError::Count { count: 3, events: 1 }));
        let late = EventBatch {
            base: u64::MAX,
            ..batch(vec![UnifiedEvent::default(); 2])
        };
        assert_eq!(
            late.expand(),
            Err(ExpandError::Sequence {
                base: u64::MAX,
                events: 2
            })
        );
        let lost = batch(vec![UnifiedEvent {
            workload_index: 1,
            ..UnifiedEvent::default()
        }]);
        assert_eq!(
            lost.expand(),
            Err(ExpandError::WorkloadIndex {
                event: 0,
                index: 1,
                workloads: 0
            })
        );
    }
}
