//! What this server has added to accumulators that are not written yet, so that it can tell what is lost with them.
//!
//! A batch is *attempted* from the moment that it is sent until its reply shows what became of it. A batch that was attempted
//! before may be in an accumulator of which the gatherer no longer knows, and that was written. So after a gap it is *given up*:
//! a batch without rows takes its number, and then it counts as lost.

use std::collections::{HashMap, VecDeque};

use crate::store::servers::Label;
use crate::store::statistics::Batch;
use crate::store::statistics::gathering::{FlushId, GatherState};

/// The most batches that are remembered: those of a million links.
const MAX_BATCHES: usize = 50_000;
/// The most servers: one, but for tests.
const MAX_SERVERS: usize = 1_000;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Batches in the order in which they were added.
    batches: VecDeque<Noted>,
    /// The last batch of each server whose fate is not known, and whether it is given up.
    attempted: HashMap<Label, (u64, bool)>,
    /// How many look-ups and clicks were lost.
    lost: u64,
}

/// What became of a batch before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It was not sent yet, or did certainly nothing.
    First,
    /// It was sent before, and may have been added.
    Again,
    /// It was given up: its rows are not to be sent.
    GivenUp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Noted {
    server: Label,
    number: u64,
    id: FlushId,
    events: u64,
}

impl Ledger {
    /// A batch is about to be sent.
    pub(super) fn attempt(&mut self, batch: &Batch) -> Attempt {
        match self.attempted.get(&batch.server) {
            Some((number, true)) if *number == batch.number => return Attempt::GivenUp,
            Some((number, false)) if *number == batch.number => return Attempt::Again,
            _ => {}
        }
        self.set_attempted(batch, false);
        Attempt::First
    }

    /// The rows of a batch are not sent any more.
    pub(super) fn give_up(&mut self, batch: &Batch) {
        self.set_attempted(batch, true);
    }

    fn set_attempted(&mut self, batch: &Batch, is_given_up: bool) {
        if self.attempted.len() >= MAX_SERVERS {
            self.attempted.clear();
        }
        let attempted = (batch.number, is_given_up);
        self.attempted.insert(batch.server.clone(), attempted);
    }

    /// The fate of a batch is known.
    pub(super) fn settle(&mut self, batch: &Batch) {
        self.attempted.remove(&batch.server);
    }

    /// A batch is in this accumulator.
    pub(super) fn note(&mut self, batch: &Batch, id: FlushId) {
        self.batches.push_back(Noted {
            server: batch.server.clone(),
            number: batch.number,
            id,
            events: batch.events(),
        });
        if self.batches.len() > MAX_BATCHES
            && let Some(oldest) = self.batches.pop_front()
        {
            // If the next one is lost, so is this one: they are in one accumulator.
            let mut others = self.batches.iter_mut();
            let next = others.find(|it| it.id == oldest.id && it.server == oldest.server);
            if let Some(next) = next {
                next.events += oldest.events;
            }
        }
    }

    /// The servers that have batches that may not be written yet, and the last number of each.
    pub(super) fn servers(&self) -> HashMap<Label, u64> {
        let batches = self.batches.iter();
        batches.map(|it| (it.server.clone(), it.number)).collect()
    }

    /// Forgets the batches up to a number that were written, and counts those that are lost: their accumulator is gone, or is
    /// there without them. `floor` is that of the table. Returns how many look-ups and clicks are lost now.
    pub(super) fn check(
        &mut self,
        server: &Label,
        up_to: u64,
        state: &GatherState,
        floor: u64,
    ) -> u64 {
        let mut lost = 0;
        self.batches.retain(|batch| {
            if batch.server != *server || batch.number > up_to {
                return true;
            }
            if batch.id.0 <= floor.max(state.floor) {
                return false;
            }
            let is_there = batch.is_in(state);
            if !is_there {
                lost += batch.events;
            }
            is_there
        });
        self.lost += lost;
        lost
    }

    /// Whether there are batches that the state does not account for, so that the floor of the table is needed.
    pub(super) fn is_in_doubt(&self, server: &Label, up_to: u64, state: &GatherState) -> bool {
        let mut own = self.batches.iter();
        own.any(|batch| {
            batch.server == *server
                && batch.number <= up_to
                && batch.id.0 > state.floor
                && !batch.is_in(state)
        })
    }

    /// A batch cannot be added any more.
    pub(super) fn lose(&mut self, batch: &Batch) -> u64 {
        let events = batch.events();
        self.lost += events;
        events
    }

    /// How many look-ups and clicks were lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

impl Noted {
    /// Whether its accumulator is there, and has it.
    fn is_in(&self, state: &GatherState) -> bool {
        let mut there = [state.open, state.closed].into_iter().flatten();
        there.any(|it| it.id == self.id) && self.number <= state.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::UnixTime;
    use crate::link::LinkName;
    use crate::store::statistics::gathering::Accumulator;
    use crate::store::statistics::{Counter, Row};

    fn batch(number: u64) -> Batch {
        let row = |counter: &str, count| Row {
            name: LinkName::parse("a.s.example.com").unwrap(),
            hour: UnixTime(0),
            counter: Counter::parse(counter).unwrap(),
            count,
        };
        Batch {
            server: Label::closest("s"),
            number,
            // A referrer is about a click that counts already.
            rows: vec![row("click:person", number), row("referrer:x", number)],
        }
    }

    fn state(open: u64, closed: u64, floor: u64, last: u64) -> GatherState {
        let accumulator = |id| {
            (id != 0).then_some(Accumulator {
                id: FlushId(id),
                sums: 1,
                age: Duration::ZERO,
            })
        };
        GatherState {
            open: accumulator(open),
            closed: accumulator(closed),
            floor,
            last,
        }
    }

    /// Batches 1 to 4, of which the first two are in accumulator 10, and the others in 20.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for (number, id) in [(1, 10), (2, 10), (3, 20), (4, 20)] {
            ledger.note(&batch(number), FlushId(id));
        }
        ledger
    }

    #[test]
    fn what_is_neither_there_nor_written_is_lost() {
        let check = |state: GatherState, floor: u64, lost: u64, left: u64| {
            let mut ledger = ledger();
            let server = Label::closest("s");
            assert_eq!(ledger.check(&server, 4, &state, floor), lost, "{state:?}");
            assert_eq!(ledger.lost(), lost);
            assert_eq!(ledger.batches.len() as u64, left, "{state:?}");
            assert_eq!(
                ledger.check(&server, 4, &state, floor),
                0,
                "it is counted once"
            );
        };
        check(state(20, 10, 0, 4), 0, 0, 4);
        check(state(20, 0, 10, 4), 0, 0, 2);
        check(state(0, 0, 20, 4), 0, 0, 0);
        // Everything is gone.
        check(state(0, 0, 0, 0), 0, 10, 0);
        // The table has the first accumulator.
        check(state(0, 0, 0, 0), 10, 7, 0);
        check(state(30, 0, 0, 1), 10, 7, 0);
        // An earlier state of the open accumulator.
        check(state(20, 0, 10, 3), 10, 4, 1);
        check(state(10, 0, 0, 1), 0, 9, 1);
    }

    #[test]
    fn later_batches_and_those_of_others_are_left_alone() {
        let (mut ledger, empty) = (ledger(), state(0, 0, 0, 0));
        assert_eq!(ledger.check(&Label::closest("t"), 4, &empty, 0), 0);
        assert_eq!(ledger.check(&Label::closest("s"), 2, &empty, 0), 3);
        assert_eq!(ledger.servers(), HashMap::from([(Label::closest("s"), 4)]));
    }

    #[test]
    fn the_floor_of_the_table_is_needed_only_in_doubt() {
        let check = |state: GatherState, expected: bool| {
            let is = ledger().is_in_doubt(&Label::closest("s"), 4, &state);
            assert_eq!(is, expected, "{state:?}");
        };
        check(state(20, 10, 0, 4), false);
        check(state(20, 0, 10, 4), false);
        check(state(20, 0, 10, 3), true);
        check(state(20, 0, 0, 4), true);
        check(state(0, 0, 0, 0), true);
    }

    #[test]
    fn a_batch_is_attempted_until_its_fate_is_known() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.attempt(&batch(1)), Attempt::First);
        assert_eq!(ledger.attempt(&batch(1)), Attempt::Again);
        ledger.settle(&batch(1));
        assert_eq!(ledger.attempt(&batch(1)), Attempt::First);
        assert_eq!(ledger.attempt(&batch(2)), Attempt::First);
        ledger.give_up(&batch(2));
        assert_eq!(ledger.attempt(&batch(2)), Attempt::GivenUp);
        assert_eq!((ledger.lose(&batch(2)), ledger.lost()), (2, 2));
        ledger.settle(&batch(2));
        assert_eq!(ledger.attempt(&batch(2)), Attempt::First);
    }

    #[test]
    fn a_batch_that_there_is_no_room_for_is_lost_with_the_next_one() {
        let mut ledger = Ledger::default();
        let all = MAX_BATCHES as u64 + 2;
        for number in 1..=all {
            ledger.note(&batch(number), FlushId(10));
        }
        assert_eq!(ledger.batches.len(), MAX_BATCHES);
        let lost = ledger.check(&Label::closest("s"), all, &state(0, 0, 0, 0), 0);
        assert_eq!(lost, all * (all + 1) / 2);
    }
}
