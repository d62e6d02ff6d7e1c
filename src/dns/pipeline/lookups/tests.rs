//! Many threads, more names than a table has, and queues that are full.

use std::collections::HashMap;
use std::sync::Barrier;

use tokio::runtime::Runtime;

use super::*;
use crate::base::clock::{Clock, UnixTime};
use crate::base::metrics::Metrics;
use crate::statistics::testing::Counted;
use crate::store::statistics::Counter;

/// Statistics whose rows can be read.
pub(in crate::dns::pipeline) struct Counts {
    pub(in crate::dns::pipeline) statistics: Statistics,
    pub(in crate::dns::pipeline) metrics: Arc<Metrics>,
    counted: Counted,
}

impl Counts {
    pub(in crate::dns::pipeline) fn new() -> Self {
        let metrics = Arc::new(Metrics::new());
        let counted = Counted::new(Clock::manual(UnixTime(1_700_000_000)), &metrics);
        Self {
            statistics: counted.statistics.clone(),
            metrics,
            counted,
        }
    }

    /// What was counted since the last call, by name and counter: `abc.s.example.com`, `lookup:txt`.
    pub(in crate::dns::pipeline) fn take(
        &self,
        runtime: &Runtime,
    ) -> HashMap<(String, String), u64> {
        let sums = runtime.block_on(self.counted.sums());
        self.counted.ledger.clear();
        sums.into_iter().collect()
    }
}

/// A query name in wire form: the link of this number below `s.example.com`, at its short name or below `r`.
fn wire(number: u32, place: LinkPlace) -> Vec<u8> {
    let code = format!("{number:08}");
    let labels = match place {
        LinkPlace::Short => [code.as_str(), "s", "example", "com"].to_vec(),
        LinkPlace::Target => [code.as_str(), "r", "s", "example", "com"].to_vec(),
    };
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn asked(name: &[u8], number: u32, qtype: u16, place: LinkPlace) -> Asked<'_> {
    let hash = foldhash::fast::FixedState::default();
    use std::hash::BuildHasher;
    Asked {
        hash: hash.hash_one((number, qtype, place == LinkPlace::Short)),
        name,
        qtype,
        place,
    }
}

#[test]
fn more_names_than_a_table_holds_are_counted_exactly_by_many_threads() {
    const NAMES: u32 = 20_000;
    const THREADS: u32 = 3;
    let runtime = Runtime::new().unwrap();
    let counts = Counts::new();
    let lookups = Lookups::start(counts.statistics.clone()).unwrap().unwrap();
    let begin = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (lookups, begin) = (&lookups, &begin);
            scope.spawn(move || {
                begin.wait();
                // One of them shares its counter with others.
                let mut own = (thread > 0).then(|| lookups.counter());
                for number in 0..NAMES {
                    let place = match number % 2 {
                        0 => LinkPlace::Short,
                        _ => LinkPlace::Target,
                    };
                    let name = wire(number, place);
                    for qtype in [1, 28, 16] {
                        let asked = asked(&name, number, qtype, place);
                        match &mut own {
                            Some(own) => own.count(asked),
                            None => lookups.count(asked),
                        }
                    }
                    // Slower than any server, so that nothing has to be dropped.
                    if number % 1_000 == 0 {
                        thread::sleep(std::time::Duration::from_millis(20));
                    }
                }
            });
        }
    });
    runtime.block_on(lookups.flush());
    assert_eq!(counts.metrics.statistics_dropped.get(), 0);
    let sums = counts.take(&runtime);
    assert_eq!(sums.len(), 2 * NAMES as usize);
    for number in 0..NAMES {
        let name = format!("{number:08}.s.example.com");
        let of = |counter: Lookup| sums[&(name.clone(), Counter::Lookup(counter).to_string())];
        assert_eq!(of(Lookup::Address), u64::from(2 * THREADS), "{name}");
        assert_eq!(of(Lookup::Txt), u64::from(THREADS), "{name}");
    }
}

#[test]
fn counts_that_the_collector_cannot_take_are_counted_as_dropped() {
    const NAMES: u32 = 50_000;
    let counts = Counts::new();
    // The tables stay in the queue, and have no room to grow.
    let (orders, received) = sync_channel(QUEUE);
    let mut counter = LookupCounter::new(orders, counts.statistics.clone(), Room::new(0));
    for number in 0..NAMES {
        let name = wire(number, LinkPlace::Short);
        counter.count(asked(&name, number, 16, LinkPlace::Short));
    }
    drop(counter);
    let waiting = std::iter::from_fn(|| received.try_recv().ok());
    let sums: Vec<_> = waiting
        .map(|order| match order {
            Order::Take(table, _) => table.sum(),
            Order::Flush(_) => 0,
        })
        .collect();
    assert_eq!(sums.len(), counter::TABLES, "{sums:?}");
    let dropped = counts.metrics.statistics_dropped.get();
    assert!(dropped > 0);
    assert_eq!(sums.iter().sum::<u64>() + dropped, u64::from(NAMES));
}

#[test]
fn tables_grow_with_the_names_as_far_as_there_is_room_and_shrink_again() {
    // How many slots the tables have that are handed over; the collector returns each at once.
    let check = |room: usize, names: u32, expected: &[usize]| {
        let counts = Counts::new();
        let (orders, received) = sync_channel(QUEUE);
        let room = Room::new(room);
        let mut counter = LookupCounter::new(orders, counts.statistics.clone(), room.clone());
        let mut slots = Vec::new();
        let mut sum = 0;
        let mut take = || {
            for order in received.try_iter() {
                if let Order::Take(mut table, home) = order {
                    slots.push(table.slots());
                    sum += table.sum();
                    table.clear();
                    home.try_send(table).unwrap();
                }
            }
        };
        for number in 0..names {
            let name = wire(number, LinkPlace::Short);
            counter.count(asked(&name, number, 16, LinkPlace::Short));
            take();
        }
        let mut now = std::time::Instant::now();
        for _ in 0..6 {
            now += std::time::Duration::from_secs(6);
            counter.pass(now);
            take();
            let name = wire(0, LinkPlace::Short);
            counter.count(asked(&name, 0, 16, LinkPlace::Short));
        }
        counter.hand_over();
        take();
        assert_eq!(slots, expected);
        assert_eq!(sum, u64::from(names) + 6);
        assert_eq!(counts.metrics.statistics_dropped.get(), 0);
    };
    const SLOTS: usize = 1 << 13;
    check(0, 13_000, &[SLOTS; 9]);
    let grown = [SLOTS, 2 * SLOTS, 4 * SLOTS, 2 * SLOTS];
    let names = 6_144 + 12_288 + 100;
    check(counter::ROOM, names, &[&grown[..], &[SLOTS; 5]].concat());
}

#[test]
fn a_counter_that_ends_after_all_others_loses_nothing() {
    let runtime = Runtime::new().unwrap();
    let counts = Counts::new();
    let lookups = Lookups::start(counts.statistics.clone()).unwrap().unwrap();
    let mut counter = lookups.counter();
    let name = wire(1, LinkPlace::Short);
    counter.count(asked(&name, 1, 16, LinkPlace::Short));
    lookups.count(asked(&name, 1, 16, LinkPlace::Short));
    let orders = lookups.0.orders.clone();
    drop(lookups);
    drop(counter);
    let (done, is_done) = oneshot::channel();
    orders.send(Order::Flush(done)).unwrap();
    runtime.block_on(is_done).unwrap();
    let sums: Vec<_> = counts.take(&runtime).into_iter().collect();
    let key = ("00000001.s.example.com".to_owned(), "lookup:txt".to_owned());
    assert_eq!(sums, [(key, 2)]);
}

#[test]
fn nothing_is_counted_where_statistics_are_off() {
    assert!(Lookups::start(Statistics::off()).unwrap().is_none());
}

#[test]
fn each_type_has_its_kind() {
    for (kind, qtypes) in [
        (Lookup::Address, &[1, 5, 28, 65][..]),
        (Lookup::Txt, &[16]),
        (Lookup::Uri, &[256]),
        (Lookup::Other, &[2, 6, 15, 46, 64, 255, 65_280]),
    ] {
        for qtype in qtypes {
            assert_eq!(kind_of(*qtype), kind, "{qtype}");
        }
    }
}
