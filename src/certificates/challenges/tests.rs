use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::store::SqliteStore;

const NOW: UnixTime = UnixTime(1_700_000_000);
const HOUR: UnixTime = UnixTime(NOW.0 + 3_600);

/// Values that a read returns, and how many reads have begun.
#[derive(Clone, Default)]
struct Source {
    value: Arc<Mutex<String>>,
    reads: Arc<AtomicUsize>,
}

impl Source {
    fn set(&self, value: &str) {
        *self.value.lock().unwrap() = value.into();
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// A read that takes this long and returns the value of its beginning.
    fn read(
        &self,
        time: Duration,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + 'static {
        let source = self.clone();
        move || {
            source.reads.fetch_add(1, Ordering::SeqCst);
            let value = source.value.lock().unwrap().clone();
            Box::pin(async move {
                tokio::time::sleep(time).await;
                Ok(Arc::from([value.into()]))
            })
        }
    }
}

fn text(outcome: Outcome) -> String {
    outcome.unwrap().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_query_never_gets_a_read_that_began_before_it() {
    let (source, reader) = (Source::default(), Arc::new(Reader::default()));
    let ask = || Arc::clone(&reader).next(source.read(Duration::from_millis(300)));
    source.set("old");
    let early = tokio::spawn(ask());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(source.reads(), 1, "the first read is under way");
    source.set("new");
    let late = tokio::spawn(ask());
    let later = tokio::spawn(ask());
    assert_eq!(text(early.await.unwrap()), "old");
    assert_eq!(text(late.await.unwrap()), "new");
    assert_eq!(text(later.await.unwrap()), "new");
    assert_eq!(source.reads(), 2, "the late queries share a read");
    // After a pause a query waits for nothing but its own read.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = Instant::now();
    ask().await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn a_flood_costs_twenty_reads_a_second() {
    let (source, reader) = (Source::default(), Arc::new(Reader::default()));
    let mut queries = Vec::new();
    for _ in 0..2_000 {
        for _ in 0..10 {
            let read = source.read(Duration::from_millis(1));
            queries.push(tokio::spawn(Arc::clone(&reader).next(read)));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asked = queries.len();
    for query in queries {
        query.await.unwrap().unwrap();
    }
    assert!((39..=42).contains(&source.reads()), "{}", source.reads());
    assert_eq!(asked, 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_an_error_until_it_works() {
    let (source, reader) = (Source::default(), Arc::new(Reader::default()));
    let hangs = source.read(Duration::from_secs(3_600));
    let before = Instant::now();
    let outcome = Arc::clone(&reader).next(hangs).await;
    assert!(matches!(outcome, Err(StoreError::DeadlineExceeded)));
    assert_eq!(before.elapsed(), QUERY_DEADLINE);
    tokio::time::sleep(2 * READ_DEADLINE).await;
    let works = source.read(Duration::from_millis(1));
    Arc::clone(&reader).next(works).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_read_that_panics_ends_with_its_queries() {
    let (source, reader) = (Source::default(), Arc::new(Reader::default()));
    let breaks = || async { panic!("the test wants a panic") };
    let outcome = Arc::clone(&reader).next(breaks).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))));
    let works = source.read(Duration::from_millis(1));
    Arc::clone(&reader).next(works).await.unwrap();
}

/// Two servers with one store.
struct Fleet {
    one: Challenges,
    other: Challenges,
    store: Arc<dyn Store>,
    clock: Clock,
    origin: Origin,
    _directory: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::manual(NOW);
        let file = directory.path().join("links");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&file, clock.clone()).unwrap());
        Self {
            one: Challenges::new(store.clone(), clock.clone()),
            other: Challenges::new(store.clone(), clock.clone()),
            store,
            clock,
            origin: Origin::parse("s.example.com").unwrap(),
            _directory: directory,
        }
    }

    async fn offer(&self, values: &[&str], until: UnixTime) {
        self.one.offer(&self.origin, values, until).await.unwrap();
    }

    /// The values that the other server sees.
    async fn seen(&self) -> String {
        self.other.values(&self.origin).await.unwrap().join(" ")
    }
}

#[tokio::test]
async fn another_server_sees_values_at_once_and_until_they_end() {
    let fleet = Fleet::new();
    assert_eq!(fleet.seen().await, "");
    fleet.offer(&["a", "b"], HOUR).await;
    assert_eq!(fleet.seen().await, "a b");
    fleet.offer(&["c"], UnixTime(NOW.0 + 10)).await;
    assert_eq!(fleet.seen().await, "a b c");
    // The same value again gets the later end.
    fleet.offer(&["a"], UnixTime(HOUR.0 + 1)).await;
    assert_eq!(fleet.seen().await, "b c a");
    fleet
        .one
        .withdraw(&fleet.origin, &["b", "x"])
        .await
        .unwrap();
    assert_eq!(fleet.seen().await, "c a");
    fleet.clock.set(UnixTime(NOW.0 + 10));
    assert_eq!(fleet.seen().await, "a");
    fleet.clock.set(HOUR);
    assert_eq!(fleet.seen().await, "a");
    fleet.clock.set(UnixTime(HOUR.0 + 1));
    assert_eq!(fleet.seen().await, "");
    let other = Origin::parse("example.org").unwrap();
    fleet.offer(&["x"], UnixTime(u64::MAX)).await;
    assert!(fleet.other.values(&other).await.unwrap().is_empty());
}

#[tokio::test]
async fn as_many_queries_wait_as_the_bound_says() {
    let fleet = Fleet::new();
    let free = || fleet.other.seats.available_permits();
    let waiting = fleet.other.take_all_seats();
    let refused = fleet.other.values_if_room(&fleet.origin).await;
    assert!(matches!(refused, Err(StoreError::Overloaded)));
    // Queries by TCP need no seat.
    fleet.other.values(&fleet.origin).await.unwrap();
    drop(waiting);
    // All queries of a zone share its reader, and those that go away leave their seats.
    for _ in 0..3 {
        fleet.seen().await;
        drop(fleet.other.values_if_room(&fleet.origin));
    }
    assert_eq!(fleet.other.readers.lock().unwrap().len(), 1);
    assert_eq!(free(), MAX_WAITING);
}

#[tokio::test]
async fn there_are_at_most_four_values_the_latest() {
    let fleet = Fleet::new();
    fleet.offer(&["a", "b", "c"], HOUR).await;
    fleet.offer(&["d", "e"], HOUR).await;
    assert_eq!(fleet.seen().await, "b c d e");
    let long = "x".repeat(MAX_VALUE_LEN + 1);
    for value in ["", "with space", "ü", &long] {
        let refused = fleet.one.offer(&fleet.origin, &[value], HOUR).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{value:?}");
    }
    assert_eq!(fleet.seen().await, "b c d e");
}

#[tokio::test]
async fn servers_that_change_the_values_at_once_lose_none() {
    let fleet = Fleet::new();
    let values = ["a", "b", "c", "d"];
    let (one, other) = (&fleet.one, &fleet.other);
    let (first, second) = tokio::join!(
        one.offer(&fleet.origin, &values[..2], HOUR),
        other.offer(&fleet.origin, &values[2..], HOUR)
    );
    first.and(second).unwrap();
    let mut seen: Vec<_> = one.values(&fleet.origin).await.unwrap();
    seen.sort_unstable();
    assert_eq!(seen.join(""), "abcd");
}

#[tokio::test]
async fn a_damaged_document_is_an_error_and_is_replaced() {
    let fleet = Fleet::new();
    let many = r#"{"values":[{"value":"a","until":9999999999},{"value":"a","until":9999999999},
        {"value":"a","until":9999999999},{"value":"a","until":9999999999},{"value":"a","until":9999999999}]}"#;
    let damaged = [
        "",
        "{}",
        r#"{"values":[{"value":"","until":9999999999}]}"#,
        many,
    ];
    let key = key(&fleet.origin);
    for (revision, content) in (0..).zip(damaged) {
        let expected = (revision > 0).then_some(revision);
        let put = fleet.store.put_document(&key, expected, content.into());
        assert!(matches!(put.await.unwrap(), DocumentPut::Written(_)));
        let seen = fleet.other.values(&fleet.origin).await;
        assert!(
            matches!(seen, Err(StoreError::Corrupt { .. })),
            "{content}: {seen:?}"
        );
    }
    fleet.offer(&["a"], HOUR).await;
    assert_eq!(fleet.seen().await, "a");
    // A later version may add fields.
    let later = r#"{"more":1,"values":[{"value":"z","until":9999999999,"more":2}]}"#;
    let put = fleet.store.put_document(&key, Some(5), later.into());
    assert!(matches!(put.await.unwrap(), DocumentPut::Written(6)));
    assert_eq!(fleet.seen().await, "z");
}
