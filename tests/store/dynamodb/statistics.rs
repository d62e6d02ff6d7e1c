//! Statistics in a table of their own, gathered in a Redis server.

use std::sync::Mutex;

use tinyns::base::clock::Clock;
use tinyns::base::metrics::Metrics;
use tinyns::links::redis::{RedisConfig, RedisMode, RedisUrl};
use tinyns::links::{Host, LinkLimits, Links, Namespace};
use tinyns::store::StatisticsTable;
use tinyns::store::statistics::{Keeping, Unit};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::statistics::{
    DAY, START, add, batch, check_link, check_zone, rows, statistics, statistics_battery,
};
use super::super::written::sweep;
use super::*;
use crate::redis::RedisServer;

statistics_battery!(Gathered::start());

/// The table of statistics.
const SUMS: &str = "statistics";

/// A backend whose statistics are gathered in Redis.
struct Gathered {
    emulator: Emulator,
    redis: RedisServer,
    /// What connects the stores that were opened with Redis.
    links: Mutex<Vec<(Links, CancellationToken)>>,
}

impl Gathered {
    fn start() -> Self {
        Self {
            emulator: Emulator::start(),
            redis: RedisServer::start(),
            links: Mutex::default(),
        }
    }
}

#[async_trait]
impl Backend for Gathered {
    async fn open(&self) -> Arc<dyn Store> {
        let config = with_statistics(&self.emulator.url());
        let store: Arc<dyn Store> = Arc::new(dynamo::open(&config).await.unwrap());
        let links = connected(&store, &self.redis).await;
        self.links.lock().unwrap().push(links);
        store
    }
}

fn with_statistics(url: &str) -> DynamoConfig {
    let statistics = StatisticsTable {
        name: SUMS.into(),
        writes_per_second: 1_000_000,
        flush_every: Duration::from_secs(3_600),
    };
    DynamoConfig {
        statistics: Some(statistics),
        ..dynamo::config(url)
    }
}

#[derive(Debug)]
struct Zone;

impl Namespace for Zone {
    fn origins(&self) -> Vec<Origin> {
        vec![origin(ZONE)]
    }

    fn is_reserved(&self, _: &LinkName) -> bool {
        false
    }

    fn classify_host(&self, _: &str) -> Host {
        Host::Foreign
    }

    fn link_ttl(&self, _: &LinkName) -> u32 {
        60
    }

    fn negative_ttl(&self, _: &str) -> u32 {
        60
    }
}

fn redis(server: &RedisServer) -> RedisConfig {
    RedisConfig {
        mode: RedisMode::Node,
        urls: vec![RedisUrl::parse(&server.url()).unwrap()],
        password_file: None,
        ca_file: None,
        certificate: None,
        key: None,
        prefix: "tinyns".into(),
        keep: Duration::from_secs(60),
        timeout: Duration::from_secs(2),
        warm_load: false,
        warm_load_rate: 0,
    }
}

/// Connects a store with a Redis server, for as long as the result lives.
async fn connected(store: &Arc<dyn Store>, server: &RedisServer) -> (Links, CancellationToken) {
    let limits = LinkLimits::default();
    let metrics = Arc::new(Metrics::new());
    let links = Links::new(
        store.clone(),
        Arc::new(Zone),
        limits,
        Clock::default(),
        metrics,
    );
    let links = links.with_redis(&redis(server), limits).unwrap();
    let shutdown = CancellationToken::new();
    links.start(&TaskTracker::new(), &shutdown);
    let sums = store.statistics().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while sums.flush().await.is_err() {
        assert!(Instant::now() < end, "Redis cannot be used");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (links, shutdown)
}

/// A store with statistics on a table behind a proxy.
async fn behind_a_proxy(backend: &Gathered) -> (Proxy, Arc<dyn Store>) {
    let proxy = Proxy::start(&backend.emulator).await;
    let config = with_statistics(&proxy.url());
    let store: Arc<dyn Store> = Arc::new(dynamo::open(&config).await.unwrap());
    let links = connected(&store, &backend.redis).await;
    backend.links.lock().unwrap().push(links);
    (proxy, store)
}

/// The replies of all writes of a flush are lost, and then DynamoDB throttles.
#[tokio::test(flavor = "multi_thread")]
async fn writes_of_a_flush_that_are_repeated_count_once() {
    let backend = Gathered::start();
    let (proxy, store) = behind_a_proxy(&backend).await;
    make(&*store, new("a", "1"), NOW).await;
    let sums = statistics(&store);
    for (number, fate) in [
        (1, Fate::LoseReply),
        (
            2,
            Fate::error(400, "ProvisionedThroughputExceededException"),
        ),
        (3, Fate::error(500, "InternalServerError")),
    ] {
        let counts = rows(&name("a"), START, "lookup:txt=1 referrer:x.example=1");
        add(&*sums, batch("s", number, counts)).await;
        proxy.on("PutItem", fate);
        let unwrapped = store.statistics().unwrap();
        let first = tokio::time::timeout(Duration::from_secs(3), unwrapped.flush());
        assert!(!matches!(first.await, Ok(Ok(true))), "{number}");
        proxy.all(Fate::Pass);
    }
    for unit in [Unit::Day, Unit::Month] {
        let expected = ["0d0h lookup:txt=3", "0d0h referrer:x.example=3"];
        check_link(&*sums, &name("a"), unit, &expected).await;
        // The zone's item is written first, so its reply is the one that is lost.
        check_zone(&*sums, ZONE, unit, &expected).await;
    }
}

/// The sums of a link that is deleted while they are written do not stay.
#[tokio::test(flavor = "multi_thread")]
async fn sums_of_a_link_that_is_deleted_during_the_flush_go() {
    let backend = Gathered::start();
    let (proxy, store) = behind_a_proxy(&backend).await;
    make(&*store, new("a", "1"), NOW).await;
    let sums = statistics(&store);
    let counts = rows(&name("a"), START, "lookup:txt=1");
    add(&*sums, batch("s", 1, counts)).await;
    let gate = dynamo::Gate::new();
    proxy.on_text("\"a#0#", Fate::Hold(gate.clone()));
    let flushing = store.statistics().unwrap();
    let flushing = tokio::spawn(async move { flushing.flush().await });
    tokio::task::spawn_blocking({
        let gate = gate.clone();
        move || gate.wait(1)
    })
    .await
    .unwrap();
    // By another server, which finds no sums.
    let other = backend.open().await;
    remove(&*other, "a", NOW + SECOND).await;
    gate.open();
    assert!(flushing.await.unwrap().unwrap());
    for unit in Unit::ALL {
        check_link(&*sums, &name("a"), unit, &[]).await;
    }
}

/// Removes a link from its table, as DynamoDB does after its end.
async fn expire(backend: &Gathered, code: &str) {
    let delete = backend.emulator.foreign().await.delete_item();
    let delete = delete
        .table_name(TABLE)
        .key("miniUrl", s(name(code).as_str()));
    delete.send().await.unwrap();
}

/// Sums of links that DynamoDB has removed go, and those of a damaged link stay. There is one walk a day.
#[tokio::test(flavor = "multi_thread")]
async fn sums_of_links_that_dynamodb_has_removed_go() {
    let backend = Gathered::start();
    let store = backend.open().await;
    let sums = statistics(&store);
    let codes = ["a", "a-b", "ab", "damaged", "last"];
    let mut counts = Vec::new();
    for code in codes {
        make(&*store, new(code, "1"), NOW).await;
        counts.extend(rows(&name(code), START, "lookup:txt=1"));
    }
    add(&*sums, batch("s", 1, counts)).await;
    let check = async |left: &[&str]| {
        for code in codes {
            let expected = &["0d0h lookup:txt=1"][..usize::from(left.contains(&code))];
            for unit in Unit::ALL.into_iter().filter(|unit| *unit != Unit::Total) {
                check_link(&*sums, &name(code), unit, expected).await;
            }
            let totals = sums.totals(&[name(code)]).await.unwrap();
            assert_eq!(totals[0].lookups, expected.len() as u64, "{code}");
        }
        check_zone(&*sums, ZONE, Unit::Month, &["0d0h lookup:txt=5"]).await;
    };
    check(&codes).await;
    let damaged = name("damaged");
    let damaged = [("miniUrl", s(damaged.as_str())), ("fullUrl", n(1))];
    put(&backend.emulator.foreign().await, &damaged).await;
    expire(&backend, "a").await;
    sweep(&*sums, START).await;
    check(&["a-b", "ab", "damaged", "last"]).await;

    expire(&backend, "a-b").await;
    expire(&backend, "last").await;
    let other = statistics(&backend.open().await);
    sweep(&*other, START + DAY - 1).await;
    check(&["a-b", "ab", "damaged", "last"]).await;
    sweep(&*other, START + DAY).await;
    check(&["ab", "damaged"]).await;
}

/// A store with the statistics of another one removes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn sums_stay_if_the_links_are_in_another_table() {
    let backend = Gathered::start();
    let store = backend.open().await;
    let sums = statistics(&store);
    sums.keep(Keeping { deleted: false }).await.unwrap();
    make(&*store, new("a", "1"), NOW).await;
    let counts = rows(&name("a"), START, "lookup:txt=1");
    add(&*sums, batch("s", 1, counts)).await;
    check_link(&*sums, &name("a"), Unit::Day, &["0d0h lookup:txt=1"]).await;
    let config = DynamoConfig {
        table: "others".into(),
        ..with_statistics(&backend.emulator.url())
    };
    let other: Arc<dyn Store> = Arc::new(dynamo::open(&config).await.unwrap());
    let links = connected(&other, &backend.redis).await;
    backend.links.lock().unwrap().push(links);
    let other = statistics(&other);
    other.keep(Keeping { deleted: false }).await.unwrap();
    sweep(&*other, START).await;
    check_link(&*sums, &name("a"), Unit::Day, &["0d0h lookup:txt=1"]).await;
}

#[tokio::test]
async fn a_table_with_another_key_or_without_the_indexes_has_no_statistics() {
    let emulator = Emulator::start();
    dynamo::open(&with_audit(&emulator.url())).await.unwrap();
    for (table, expected) in [
        (TABLE, "zone (S, HASH) and id (S, RANGE)"),
        ("bare", "index \"clicks\""),
    ] {
        if table == "bare" {
            let element = |name: &str, kind| {
                let element = KeySchemaElement::builder()
                    .attribute_name(name)
                    .key_type(kind);
                element.build().unwrap()
            };
            let text = |name: &str| {
                let definition = AttributeDefinition::builder().attribute_name(name);
                let definition = definition.attribute_type(ScalarAttributeType::S);
                definition.build().unwrap()
            };
            let create = emulator.foreign().await.create_table().table_name(table);
            let create = create
                .key_schema(element("zone", KeyType::Hash))
                .key_schema(element("id", KeyType::Range))
                .attribute_definitions(text("zone"))
                .attribute_definitions(text("id"))
                .billing_mode(BillingMode::PayPerRequest);
            create.send().await.unwrap();
        }
        let mut config = with_statistics(&emulator.url());
        config.statistics.as_mut().unwrap().name = table.into();
        let error = dynamo::open(&config).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn without_redis_there_are_reads_and_no_counts() {
    let emulator = Emulator::start();
    let store = dynamo::open(&with_statistics(&emulator.url()))
        .await
        .unwrap();
    let sums = store.statistics().unwrap();
    assert!(!sums.takes_batches());
    let added = sums.add(&batch("s", 1, Vec::new()), UnixTime(START)).await;
    assert!(matches!(added, Err(StoreError::Refused(_))), "{added:?}");
    assert_eq!(sums.totals(&[name("a")]).await.unwrap().len(), 1);
    let without = dynamo::open(&dynamo::config(&emulator.url()))
        .await
        .unwrap();
    assert!(without.statistics().is_none());
}
