use super::*;

/// A table of changes whose transactions are committed in any order, and a reader of it.
#[derive(Default)]
struct Model {
    /// All entries.
    all: Vec<Seen>,
    committed: BTreeMap<i64, bool>,
    next: i64,
}

impl Model {
    fn xmin(&self) -> i64 {
        let running = self
            .committed
            .iter()
            .find(|(_, is_committed)| !**is_committed);
        running.map_or(self.next, |(txid, _)| *txid)
    }

    fn begin(&mut self) -> i64 {
        let txid = self.next;
        self.next += 1;
        self.committed.insert(txid, false);
        txid
    }

    fn write(&mut self, txid: i64) {
        let seq = i64::try_from(self.all.len()).unwrap() + 1;
        self.all.push(Seen { seq, txid });
    }

    /// What the statements of a read find.
    fn read(&self, place: &FeedPlace, limit: usize) -> Vec<Seen> {
        let is_visible = |seen: &&Seen| self.committed[&seen.txid];
        let was_had = |seen: &&Seen| {
            let bound = place.done.get(&seen.txid);
            bound.is_some_and(|bound| bound.is_none_or(|bound| seen.seq <= bound))
        };
        let is_new = |seen: &&Seen| match place.is_amid() && seen.seq <= place.seq {
            true => seen.txid >= place.upto,
            false => seen.txid >= place.base,
        };
        let rows = self.all.iter().filter(is_visible).filter(is_new);
        rows.filter(|seen| !was_had(seen))
            .take(limit)
            .copied()
            .collect()
    }
}

#[test]
fn each_entry_is_read_once_whatever_the_order_of_the_commits() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut model = Model {
            next: 100,
            ..Model::default()
        };
        let mut place = FeedPlace::end(7, 100, []);
        let mut had: Vec<Seen> = Vec::new();
        let mut running: Vec<i64> = Vec::new();
        let mut steps = 0;
        while steps < 400 || had.len() < model.all.len() {
            steps += 1;
            match random.u32(0..if steps < 400 { 10 } else { 2 }) {
                0 => {
                    let limit = random.usize(1..6);
                    let mut seen = model.read(&place, limit + 1);
                    let before = place.clone();
                    if seen.len() > limit {
                        seen.truncate(limit);
                        place = place.after_some(model.xmin(), &seen);
                    } else {
                        place = place.after_all(model.xmin(), &seen);
                    }
                    assert!(place.covers(&before), "{place} {before}");
                    assert!(
                        seen.is_empty() || !before.covers(&place),
                        "{place} {before}"
                    );
                    had.extend(seen);
                }
                1 if !running.is_empty() => {
                    let txid = running.swap_remove(random.usize(0..running.len()));
                    model.committed.insert(txid, true);
                }
                2 | 3 => running.push(model.begin()),
                _ if !running.is_empty() => {
                    let txid = running[random.usize(0..running.len())];
                    model.write(txid);
                }
                _ => {}
            }
            let text = place.position().unwrap();
            assert_eq!(FeedPlace::read(&text), Some(place.clone()));
        }
        let mut once = had.clone();
        once.sort_unstable_by_key(|seen| seen.seq);
        assert_eq!(once, model.all, "seed {seed}");
    }
}

#[test]
fn the_end_has_had_what_is_visible() {
    let end = FeedPlace::end(1, 10, [12, 15]);
    assert_eq!(end.to_string(), "1:10:10:0:2,5");
    let later = FeedPlace::end(1, 13, [15]);
    assert!(later.covers(&end));
    assert!(!end.covers(&later));
    assert!(!FeedPlace::end(2, 13, [15]).covers(&end), "another history");
    assert!(!FeedPlace::end(1, 13, []).covers(&end));
    // Only as many as there is room for.
    let many = FeedPlace::end(1, 10, (0..100_000).map(|n| 10 + 2 * n));
    assert!(many.has_room() && many.done.len() > 100, "{many}");
}

#[test]
fn only_positions_are_places() {
    for bad in [
        "1",
        "x:1:1:0:",
        "1:-1:1:0:",
        "1:1:1:0",
        "1:1:1:0:a",
        "1:1:1:0:1:",
        "1:2:1:0:",
        "1:1:1:0:1-",
        "1:+1:1:0:",
        "1:9223372036854775807:9223372036854775807:0:1",
    ] {
        let position = Position::new(bad).unwrap();
        assert_eq!(FeedPlace::read(&position), None, "{bad:?}");
    }
}
