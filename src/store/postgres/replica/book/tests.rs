use super::*;

const ONE: Run = Run(1);
const TWO: Run = Run(2);
const HISTORY: u64 = 7;
const BOUND: Duration = Duration::from_secs(5);

/// A book whose replica has shown everything up to the begin, and what time it is.
struct Case {
    book: Book,
    began: Instant,
    now: Instant,
}

impl Case {
    fn new() -> Self {
        let began = Instant::now();
        let mut book = Book::new(BOUND);
        book.sample(began, HISTORY, 100);
        book.observe(Ok((HISTORY, ONE, 100)));
        Self {
            book,
            began,
            now: began,
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.began + Duration::from_millis(millis)
    }

    /// From now on it is this time.
    fn pass(&mut self, millis: u64) {
        self.now = self.at(millis);
    }

    #[track_caller]
    fn check(&mut self, need: Need<'_>, expected: Route) {
        assert_eq!(self.book.route(need, self.now), expected, "{need:?}");
    }

    fn seen(&self, as_of: Option<u64>) -> Seen {
        let as_of = as_of.map(|millis| self.at(millis));
        Seen { run: ONE, as_of }
    }

    #[track_caller]
    fn replica_first(&mut self, need: Need<'_>, as_of: Option<u64>) {
        let seen = self.seen(as_of);
        self.check(need, Route::ReplicaFirst(seen));
    }

    #[track_caller]
    fn writer_first(&mut self, need: Need<'_>, as_of: u64) {
        let seen = self.seen(Some(as_of));
        self.check(need, Route::WriterFirst(seen));
    }
}

fn name(text: &str) -> LinkName {
    LinkName::parse(&format!("{text}.s.example.com")).unwrap()
}

#[test]
fn a_replica_is_not_read_before_it_is_measured_nor_when_it_cannot_be_used() {
    let mut book = Book::new(BOUND);
    let now = Instant::now();
    assert_eq!(book.route(Need::Names, now), Route::Writer);
    book.observe(Ok((HISTORY, ONE, 100)));
    assert_eq!(book.route(Need::Names, now), Route::Writer);
    book.sample(now, HISTORY, 101);
    assert_eq!(book.route(Need::Names, now), Route::Writer);
    let mut case = Case::new();
    case.replica_first(Need::Names, Some(0));
    for why in [Unused::NoReplica, Unused::OtherHistory, Unused::OldTables] {
        case.book.observe(Err(why));
        case.check(Need::Names, Route::Writer);
        assert_eq!(case.book.lag(case.now), None);
        case.book.observe(Ok((HISTORY, ONE, 100)));
        case.replica_first(Need::Names, Some(0));
    }
}

#[test]
fn above_the_bound_reads_go_to_the_writer_while_that_can_be_reached() {
    let mut case = Case::new();
    case.pass(5_000);
    case.replica_first(Need::Names, Some(0));
    case.pass(5_001);
    for need in [Need::Names, Need::List, Need::Feed, Need::All] {
        case.writer_first(need, 0);
    }
    case.book.lose_writer();
    for need in [Need::Names, Need::List, Need::Feed, Need::All] {
        case.replica_first(need, Some(0));
    }
    case.book.sample(case.at(4_000), HISTORY, 100);
    case.replica_first(Need::Names, Some(4_000));
}

#[test]
fn an_awaited_name_is_read_from_the_writer_and_nowhere_else() {
    let mut case = Case::new();
    let (one, other) = (name("one"), name("other"));
    case.book.note(&one, case.at(10));
    case.check(Need::Name(&one), Route::Writer);
    case.replica_first(Need::Name(&other), Some(0));
    // Lists of people prefer the writer; those that have to be complete do without the replica.
    case.writer_first(Need::List, 0);
    case.check(Need::All, Route::Writer);
    case.book.lose_writer();
    case.check(Need::Name(&one), Route::Writer);
    case.replica_first(Need::List, Some(0));
    case.check(Need::All, Route::Writer);
    case.book.sample(case.at(10), HISTORY, 100);
    case.check(Need::Name(&one), Route::Writer);
    case.book.sample(case.at(11), HISTORY, 100);
    case.replica_first(Need::Name(&one), Some(11));
    assert_eq!(case.book.names(), 0);
    // What was committed before a moment.
    let moment = case.at(11);
    case.check(Need::Since(moment), Route::Writer);
    case.book.sample(case.at(12), HISTORY, 100);
    case.replica_first(Need::Since(moment), Some(12));
}

#[test]
fn after_missed_changes_the_writer_comes_first_and_the_feed_begins_anew_if_it_was_away() {
    let mut case = Case::new();
    case.book.note_missed(case.at(10));
    case.writer_first(Need::Names, 0);
    assert!(!case.book.takes_gap());
    case.book.sample(case.at(20), HISTORY, 100);
    case.replica_first(Need::Names, Some(20));
    assert!(!case.book.takes_gap(), "the replica was not read meanwhile");

    case.book.note_missed(case.at(30));
    case.book.lose_writer();
    case.replica_first(Need::Names, Some(20));
    assert!(!case.book.takes_gap(), "not yet");
    case.book.sample(case.at(40), HISTORY, 100);
    assert!(case.book.takes_gap() && !case.book.takes_gap());

    case.book.note_missed(case.at(50));
    case.writer_first(Need::Names, 40);
    case.book.note_fallback();
    case.book.sample(case.at(60), HISTORY, 100);
    assert!(case.book.takes_gap());
}

#[test]
fn another_run_is_measured_first_unless_the_writer_is_away_and_it_is_as_far() {
    let mut case = Case::new();
    assert!(case.book.observe(Ok((HISTORY, TWO, 99))));
    case.check(Need::Names, Route::Writer);
    case.book.lose_writer();
    case.check(Need::Names, Route::Writer);
    assert!(!case.book.observe(Ok((HISTORY, TWO, 100))));
    let seen = Seen {
        run: TWO,
        as_of: None,
    };
    case.check(Need::Names, Route::ReplicaFirst(seen));
    assert!(!case.book.takes_gap());
    case.book.sample(case.at(10), HISTORY, 100);
    assert!(case.book.takes_gap(), "it may have been older");
}

#[test]
fn positions_of_different_histories_are_not_compared() {
    let mut case = Case::new();
    // The database was restored, or a replica of it promoted.
    case.book.sample(case.at(10), HISTORY + 1, 50);
    case.check(Need::Names, Route::Writer);
    case.book.observe(Ok((HISTORY, ONE, 100)));
    case.check(Need::Names, Route::Writer);
    assert_eq!(case.book.unused(), Some(&Unused::OtherHistory));
    case.book.observe(Ok((HISTORY + 1, ONE, 50)));
    case.replica_first(Need::Names, Some(10));
}
