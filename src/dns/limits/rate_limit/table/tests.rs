//! The table alone, with clocks that the tests set.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64 as Counted;
use std::thread;

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;

/// A table in which accounts have the credit of so many seconds.
fn table(sets: usize, seconds: u64) -> Table {
    Table::new(sets * SET_BYTES, seconds * SECOND, Counter::default())
}

/// So many a second.
fn terms(rate: u64, seconds: u64, slip: u32) -> Terms {
    let price = SECOND.div_ceil(rate);
    Terms {
        price,
        most: price * rate * seconds,
        slip,
    }
}

/// Hashes as good as random ones (Vigna's SplitMix64).
fn hash(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// How many of so many charges at the same time are accepted.
fn paid(table: &Table, hash: u64, terms: &Terms, charges: u64, now: u64) -> u64 {
    let charges = (0..charges).map(|_| table.charge(hash, terms, now));
    charges.filter(|one| *one == Charged::Paid).count() as u64
}

#[test]
fn the_size_is_what_was_asked_for() {
    assert_eq!(size_of::<Set>(), SET_BYTES);
    for (bytes, accounts) in [(1 << 20, 131_072), (4 << 20, 524_288), (0, 8), (100, 8)] {
        let table = Table::new(bytes, SECOND, Counter::default());
        assert_eq!(table.sets.len() * WAYS, accounts);
    }
}

/// The table accepts exactly the rate: the burst at once, and then so many each second.
#[test]
fn the_rate_is_held_over_a_day() {
    for rate in [1, 3, 7, 20, 50, 999, 10_000] {
        let (table, terms) = (table(16, 2), terms(rate, 2, 2));
        assert_eq!(
            paid(&table, 1, &terms, 3 * rate, 5),
            2 * rate,
            "{rate}: the burst"
        );
        let step = (2 * SECOND / rate / 3).max(1);
        let seconds = 86_400 / rate.max(24);
        let mut now = 5;
        let mut count = 0;
        while now < 5 + seconds * SECOND {
            now += step;
            count += paid(&table, 1, &terms, 1, now);
        }
        // A price is whole microseconds, so a little less than asked for.
        let exact = (now - 5) / terms.price;
        assert_eq!(count, exact, "{rate} a second, for {seconds} s");
        assert!(exact <= rate * (seconds + 1));
        assert!(exact as f64 >= (rate * seconds) as f64 * (1.0 - rate as f64 / 1e6) - 1.0);
    }
}

#[test]
fn credit_comes_back_and_is_no_more_than_a_burst() {
    let (table, terms) = (table(16, 2), terms(10, 2, 0));
    let check = |millis: u64, expected: u64| {
        let now = 1 + millis * 1_000;
        assert_eq!(paid(&table, 9, &terms, 100, now), expected, "at {now}");
    };
    check(0, 20);
    check(0, 0);
    check(99, 0);
    check(100, 1);
    check(1_100, 10);
    check(2_100, 10);
    check(4_100, 20);
    check(100_000, 20);
    // A clock that is behind another thread's changes no credit.
    check(99_900, 0);
    check(100_000, 0);
    check(100_100, 1);
}

#[test]
fn one_in_so_many_refusals_slips_and_the_first_is_marked() {
    for (slip, expected) in [
        (0, "......."),
        (1, "sssssss"),
        (2, "s.s.s.s"),
        (3, "s..s..s"),
        (MAX_SLIP, "s......"),
    ] {
        let (table, terms) = (table(16, 1), terms(1, 1, slip));
        let slips = |now: u64| {
            let refused = (0..7).map(|n| match table.charge(3, &terms, now) {
                Charged::Paid => panic!("paid"),
                Charged::Refused { first, slips } => {
                    assert_eq!(first, n == 0 && now < 10 * SECOND);
                    if slips { 's' } else { '.' }
                }
            });
            refused.collect::<String>()
        };
        assert_eq!(table.charge(3, &terms, 1), Charged::Paid);
        assert_eq!(slips(2), expected);
        // Once the account is paid up, the count begins again.
        assert_eq!(table.charge(3, &terms, 9 * SECOND), Charged::Paid);
        assert_eq!(slips(9 * SECOND + 1), expected);
        // Credit for a single reply does not end the limiting.
        assert_eq!(
            table.charge(3, &terms, 10 * SECOND - 1),
            Charged::Refused {
                first: false,
                slips: slip == 1 || slip == 7
            }
        );
    }
}

/// Over three rounds of the clock of 36 bits, a client that asks now and then is never refused, and one
/// that asks all the time is held to its rate.
#[test]
fn the_clock_goes_around() {
    let (table, terms) = (table(64, 2), terms(5, 2, 2));
    let (round, began) = (TIME + 1, 12_345);
    let mut now = began;
    let mut count = 0;
    let mut busy = began;
    while now < began + 3 * round {
        // Sweeps as a server does, but at longer intervals.
        table.sweep(0, 1, now);
        assert_eq!(paid(&table, hash(1), &terms, 11, now), 10, "at {now}");
        for second in 0..4 {
            busy = now + second * SECOND;
            count += paid(&table, hash(2), &terms, 30, busy);
        }
        now += 3_600 * SECOND + 777;
    }
    let hours = (busy - began) / (3_600 * SECOND) + 1;
    assert_eq!(count, hours * (10 + 3 * 5));
    // Also after a day without queries, when the clock is about to wrap around again.
    for before in [0, 1, SECOND, 61 * SECOND] {
        let table = self::table(1, 2);
        assert_eq!(paid(&table, hash(7), &terms, 11, 1), 10);
        for hour in 1..19 {
            table.sweep(0, 1, 1 + hour * 3_600 * SECOND);
        }
        let later = 1 + round - before;
        assert_eq!(paid(&table, hash(7), &terms, 11, later), 10, "{before}");
        assert_eq!(paid(&table, hash(8), &terms, 11, later), 10, "{before}");
    }
}

#[test]
fn a_sweep_frees_only_accounts_that_are_paid_up() {
    let (table, terms) = (table(100, 1), terms(1, 1, 0));
    for key in 0..50 {
        table.charge(hash(key), &terms, 1);
    }
    for key in 50..80 {
        table.charge(hash(key), &terms, SECOND);
    }
    let sweep = |now| (0..7).map(|part| table.sweep(part, 7, now)).sum::<usize>();
    assert_eq!(sweep(SECOND), 80);
    assert_eq!(sweep(SECOND + 1), 30);
    assert_eq!(table.debt(hash(0), SECOND + 1), 0);
    assert_eq!(table.debt(hash(60), SECOND + 1), SECOND - 1);
    assert_eq!(sweep(2 * SECOND), 0);
}

proptest! {
    /// Keys do not disturb each other while there is room: each is paid what a bucket of its own would pay.
    #[test]
    fn accounts_are_independent(
        charges in proptest::collection::vec((0_u64..20, 0_u64..400_000), 1..400),
        rate in 1_u64..50,
        seconds in 1_u64..4,
    ) {
        let (table, terms) = (table(4_096, seconds), terms(rate, seconds, 2));
        let mut paid_up: HashMap<u64, u64> = HashMap::new();
        let mut now = 1;
        for (key, pause) in charges {
            now += pause;
            let own = paid_up.entry(key).or_default();
            let owes = own.saturating_sub(now);
            let expected = owes + terms.price <= terms.most;
            if expected {
                *own = now + owes + terms.price;
            }
            let is_paid = table.charge(hash(key), &terms, now) == Charged::Paid;
            prop_assert_eq!(is_paid, expected, "key {} at {}", key, now);
        }
    }
}

/// Charges random keys, so many a second and each key once, beside one key that takes all it can get: one a second, as
/// each of 1,024 accounts. Returns how many random keys were refused.
fn flood(keys: u64) -> u64 {
    let evictions = Counter::default();
    let table = Table::new(128 * SET_BYTES, 2 * SECOND, evictions.clone());
    let (terms, heavy) = (terms(1, 2, 0), hash(u64::MAX));
    let (mut refused, mut count, seconds) = (0, 0, 30);
    for number in 0..seconds * keys {
        let now = 1 + number * SECOND / keys;
        refused += u64::from(table.charge(hash(number), &terms, now) != Charged::Paid);
        count += paid(&table, heavy, &terms, 2, now);
    }
    assert!(evictions.get() > 100, "the table was never full");
    assert!(count <= 2 + seconds, "{count} in {seconds} s");
    refused
}

#[test]
fn a_flood_of_random_keys_lets_no_heavy_hitter_escape() {
    // Half of what all accounts can pay for, which fills many sets.
    assert_eq!(flood(512), 0, "a key that is charged once is not refused");
    // Far more than that.
    assert!(flood(20_000) > 0);
}

/// More heavy hitters than accounts: none gains by the eviction of its account.
#[test]
fn heavy_hitters_that_overrun_a_set_pay_for_each_other() {
    let (table, terms) = (table(1, 4), terms(10, 4, 0));
    let keys = 3 * WAYS as u64;
    let mut count = 0;
    let seconds = 30;
    for tick in 0..seconds * 100 {
        for key in 0..keys {
            count += paid(&table, hash(key), &terms, 1, 1 + tick * SECOND / 100);
        }
    }
    // What all accounts together may have, of which there are only so many.
    let most = WAYS as u64 * 10 * (4 + seconds);
    assert!(count <= most, "{count}, of {most}");
    assert!(count > most * 9 / 10, "{count}, of {most}");
}

/// Charges of many threads are as exact as those of one.
#[test]
fn threads_lose_no_charge_and_count_none_twice() {
    for keys in [1, 3, 40] {
        let (table, terms) = (table(64, 2), terms(500, 2, 2));
        let (count, slips, firsts) = (Counted::new(0), Counted::new(0), Counted::new(0));
        // Opened by one: at the same moment, two threads could open two for one key.
        for key in 0..keys {
            count.fetch_add(paid(&table, hash(key), &terms, 1, 1), Ordering::Relaxed);
        }
        let charges = 6_000;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in (0..keys).cycle().take(charges) {
                        match table.charge(hash(key), &terms, 1) {
                            Charged::Paid => count.fetch_add(1, Ordering::Relaxed),
                            Charged::Refused { first, slips: slip } => {
                                firsts.fetch_add(first.into(), Ordering::Relaxed);
                                slips.fetch_add(slip.into(), Ordering::Relaxed)
                            }
                        };
                    }
                });
            }
        });
        let all = 4 * charges as u64 + keys;
        let expected = (keys * 1_000).min(all);
        // A charge that has met too many others is paid without a trace, which is rare.
        let rare = all / 50;
        let paid = count.into_inner();
        assert!(
            (expected..=expected + rare).contains(&paid),
            "{keys} keys: {paid}"
        );
        let refused = all - expected;
        if refused > 0 {
            assert_eq!(firsts.into_inner(), keys);
            let slips = slips.into_inner();
            let half = refused / 2;
            assert!(
                (half - rare..=half + keys).contains(&slips),
                "{keys} keys: {slips}"
            );
        }
    }
}

#[test]
fn threads_that_open_an_account_at_the_same_moment_open_one() {
    for round in 0..200 {
        let (table, terms) = (table(4, 2), terms(50, 2, 2));
        let count = Counted::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let paid = paid(&table, hash(round), &terms, 100, 1);
                    count.fetch_add(paid, Ordering::Relaxed);
                });
            }
        });
        // Two accounts would pay twice; a few charges may meet too many others, as above.
        let paid = count.into_inner();
        assert!((100..=110).contains(&paid), "{paid}");
    }
}
