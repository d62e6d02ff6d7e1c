//! PostgreSQL ends, hangs, refuses, or hands over to a replica.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tinyns::store::PostgresOpenError;
use tinyns::store::feed::FeedPage;

use super::*;

/// As long as a query waits, and a little for a busy machine.
const READ_LIMIT: Duration = Duration::from_secs(4);
/// As long as a call of the API waits.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// Makes links in several tasks until it is stopped; keeps those that were acknowledged.
struct Writers {
    stop: Arc<AtomicBool>,
    made: Arc<Mutex<Vec<Link>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writers {
    fn start(store: &Arc<dyn Store>) -> Self {
        let (stop, made) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<Link>>>::default(),
        );
        let next = Arc::<AtomicUsize>::default();
        let task = |_| {
            let (store, stop) = (store.clone(), stop.clone());
            let (made, next) = (made.clone(), next.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match store.create(new(&format!("w{number}"), "1"), NOW).await {
                        Ok(Created::New(link)) => made.lock().unwrap().push(link),
                        Ok(other) => panic!("{other:?}"),
                        Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                    }
                }
            })
        };
        let tasks = (0..8).map(task).collect();
        Self { stop, made, tasks }
    }

    async fn reach(&self, number: usize) {
        let end = Instant::now() + crate::harness::PATIENCE;
        while self.made.lock().unwrap().len() < number {
            assert!(
                Instant::now() < end,
                "{} links",
                self.made.lock().unwrap().len()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) -> Vec<Link> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        std::mem::take(&mut self.made.lock().unwrap())
    }
}

/// Waits until the store can be read.
async fn readable(store: &dyn Store) {
    let end = Instant::now() + crate::harness::PATIENCE;
    while let Err(error) = store.ping().await {
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn check_all(store: &dyn Store, made: &[Link]) {
    for links in made.chunks(100) {
        let names: Vec<LinkName> = links.iter().map(|link| link.name.clone()).collect();
        let found = store.get_many(&names).await;
        for (link, found) in links.iter().zip(found) {
            assert_eq!(found.unwrap().as_ref(), Some(link));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_by_a_crash_and_nothing_is_half_done() {
    let mut server = Postgres::with(&["fsync=on"]);
    let store = server.open().await;
    let writers = Writers::start(&store);
    for round in 1..=3 {
        writers.reach(round * 200).await;
        server.kill();
        server.start_again();
        readable(&*store).await;
    }
    let made = writers.stop().await;
    check_all(&*store, &made).await;
    // Each link has its entry of the audit log and of the feed, and each entry its link.
    let counts = "SELECT (SELECT count(*) FROM tinyns.link), (SELECT count(*) FROM tinyns.audit), \
        (SELECT count(*) FROM tinyns.change)";
    let counts = server.psql(counts);
    let counts: Vec<usize> = counts
        .split('|')
        .map(|count| count.parse().unwrap())
        .collect();
    assert_eq!(counts, [counts[0]; 3]);
    assert!(counts[0] >= made.len(), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_is_found_and_is_another_history() {
    let mut first = Postgres::start();
    let second = first.replica();
    // A commit waits for the replica, so that it has all that was acknowledged.
    first.psql_as(
        "postgres",
        "postgres",
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
    );
    first.reload();
    let url = format!(
        "postgresql://tinyns@{},{}/tinyns",
        first.host(),
        second.host()
    );
    let store: Arc<dyn Store> = Arc::new(postgres::open(&postgres::config(&url)).await.unwrap());
    let number = store.identity().number().unwrap();
    let feed = store.feed().unwrap();
    let position = feed.end().await.unwrap();
    let writers = Writers::start(&store);
    writers.reach(300).await;
    first.kill();
    second.promote();
    readable(&*store).await;
    let so_far = writers.made.lock().unwrap().len();
    writers.reach(so_far + 100).await;
    let made = writers.stop().await;
    check_all(&*store, &made).await;
    assert_ne!(store.identity().number(), Some(number));
    assert_eq!(feed.read(&position, 10).await.unwrap(), FeedPage::TooOld);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_becomes_read_only_has_refused_for_certain() {
    let server = Postgres::start();
    let store = server.open().await;
    make(&*store, new("a", "1"), NOW).await;
    // As for a former writer that follows another server now: the sessions stay, and take no changes.
    server.psql_as(
        "postgres",
        "postgres",
        "ALTER SYSTEM SET default_transaction_read_only = on",
    );
    server.psql_as("postgres", "postgres", "SELECT pg_reload_conf()");
    server.psql_as(
        "postgres",
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'tinyns'",
    );
    let end = Instant::now() + crate::harness::PATIENCE;
    loop {
        match store.create(new("b", "1"), NOW).await {
            Err(error @ StoreError::Unreachable(_)) => {
                assert!(error.is_certain());
                assert!(error.to_string().contains("it takes no changes"), "{error}");
                break;
            }
            // The server has not read its settings yet, or ends the session.
            other => assert!(Instant::now() < end, "{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_end_while_the_server_hangs_and_work_when_it_goes_on() {
    let server = Postgres::start();
    let store = server.open().await;
    let link = make(&*store, new("a", "1"), NOW).await;
    server.freeze();
    let began = Instant::now();
    let read = store.get(&name("a")).await;
    assert!(began.elapsed() < READ_LIMIT, "{:?}", began.elapsed());
    assert!(read.is_err(), "{read:?}");
    let began = Instant::now();
    let created = store.create(new("b", "1"), NOW).await;
    assert!(began.elapsed() < WRITE_LIMIT, "{:?}", began.elapsed());
    assert!(created.is_err(), "{created:?}");
    server.thaw();
    readable(&*store).await;
    check_get(&*store, "a", Some(&link)).await;
    make(&*store, new("c", "1"), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_waits_for_a_lock_ends() {
    let server = Postgres::start();
    let config = PostgresConfig {
        statement_timeout: Duration::from_secs(1),
        ..postgres::config(&server.url())
    };
    let store = postgres::open(&config).await.unwrap();
    make(&store, new("a", "1"), NOW).await;
    let (other, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    other
        .batch_execute("BEGIN; LOCK TABLE tinyns.link IN EXCLUSIVE MODE")
        .await
        .unwrap();
    let change = store
        .change(&name("a"), None, Change::default(), &by(), NOW)
        .await;
    let error = change.unwrap_err();
    assert!(
        matches!(error, StoreError::Throttled(_)) && error.is_certain(),
        "{error}"
    );
    other.batch_execute("ROLLBACK").await.unwrap();
    let change = store
        .change(&name("a"), None, Change::default(), &by(), NOW)
        .await;
    assert!(matches!(change.unwrap(), Changed::Changed(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_opens_itself_later() {
    let mut server = Postgres::start();
    let config = postgres::config(&server.url());
    server.stop();
    let store = PostgresStore::open_or_wait(&config, Clock::default())
        .await
        .unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error}");
    assert_eq!(store.identity().number(), None);
    server.start_again();
    tokio::time::timeout(crate::harness::PATIENCE, store.opened())
        .await
        .unwrap();
    make(&*store, new("a", "1"), NOW).await;
    assert!(store.identity().number().is_some());
}

async fn refused(config: &PostgresConfig) -> PostgresOpenError {
    let opened = PostgresStore::open_or_wait(config, Clock::default()).await;
    opened.expect_err("it cannot be opened")
}

#[tokio::test]
async fn what_an_operator_has_to_correct_ends_the_start() {
    let server = Postgres::start();
    let check = async |url: &str, part: &str| {
        let error = refused(&postgres::config(url)).await.to_string();
        assert!(error.contains(part), "{error}");
        assert!(!error.contains("secret"), "{error}");
    };
    let host = server.host();
    check(
        &format!("postgresql://tinyns@{host}/none"),
        "database \"none\" does not exist",
    )
    .await;
    check(
        &format!("postgresql://nobody@{host}/tinyns"),
        "role \"nobody\" does not exist",
    )
    .await;
    server.psql_as(
        "postgres",
        "postgres",
        "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0",
    );
    check(
        &format!("postgresql://tinyns@{host}/latin"),
        "ENCODING 'UTF8'",
    )
    .await;
    server.psql_as(
        "postgres",
        "postgres",
        "CREATE DATABASE foreign_one ENCODING 'UTF8' TEMPLATE template0",
    );
    check(
        &format!("postgresql://tinyns@{host}/foreign_one"),
        "own the database",
    )
    .await;
    server.set_rules("host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n");
    server.reload();
    check(
        &format!("postgresql://tinyns:secret@{host}/tinyns"),
        "password authentication failed",
    )
    .await;
    check(&format!("postgresql://tinyns@{host}/tinyns"), "password").await;

    let url = format!("postgresql://tinyns:first@{host}/tinyns");
    let store = postgres::open(&postgres::config(&url)).await.unwrap();
    make(&store, new("a", "1"), NOW).await;
    server.psql("UPDATE tinyns.store SET schema_version = 99");
    check(&url, "install a later version of tinyns").await;
    // The server that is there goes on.
    make(&store, new("b", "1"), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_read_again() {
    let server = Postgres::start();
    server.set_rules("host all all 127.0.0.1/32 scram-sha-256\nlocal all all trust\n");
    server.reload();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "first\n").unwrap();
    let config = PostgresConfig {
        password_file: Some(file.clone()),
        ..postgres::config(&server.url())
    };
    let store = postgres::open(&config).await.unwrap();
    make(&store, new("a", "1"), NOW).await;
    assert!(!store.reload_files().unwrap());
    server.psql("ALTER ROLE tinyns PASSWORD 'second'");
    std::fs::write(&file, "second\n").unwrap();
    assert!(store.reload_files().unwrap());
    make(&store, new("b", "1"), NOW).await;
    // A file that cannot be used changes nothing.
    std::fs::write(&file, "").unwrap();
    let error = store.reload_files().unwrap_err().to_string();
    assert!(error.starts_with("the PostgreSQL password in "), "{error}");
    make(&store, new("c", "1"), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    crate::redis::make_certificates_for(dir.path(), "DNS:localhost,IP:127.0.0.1");
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let mut server = Postgres::start();
    for name in ["ca.pem", "server.pem", "server.key"] {
        server.put_file(name, &read(name));
    }
    server.set_rules(
        "hostssl all tinyns 127.0.0.1/32 trust clientcert=verify-ca\nlocal all all trust\n",
    );
    server.stop();
    server.set(&[
        "ssl=on",
        "ssl_ca_file=ca.pem",
        "ssl_cert_file=server.pem",
        "ssl_key_file=server.key",
    ]);
    server.start_again();
    let host = server.host();
    let file = |name: &str| Some(dir.path().join(name));
    let with = |mode: &str, host: &str| PostgresConfig {
        ca_file: file("ca.pem"),
        certificate: file("server.pem"),
        key: file("server.key"),
        ..postgres::config(&format!("postgresql://tinyns@{host}/tinyns?sslmode={mode}"))
    };
    let store = postgres::open(&with("verify-full", &host)).await.unwrap();
    make(&store, new("a", "1"), NOW).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
        WHERE application_name = 'tinyns'";
    assert_eq!(server.psql_as("postgres", "tinyns", encrypted), "t");
    postgres::open(&with("prefer", &host)).await.unwrap();

    let check = async |config: PostgresConfig, part: &str| {
        let error = refused(&config).await.to_string();
        assert!(error.contains(part), "{error}");
    };
    // An authority that the system does not know, a server without TLS, and no client certificate.
    let unknown = PostgresConfig {
        ca_file: None,
        ..with("verify-full", &host)
    };
    check(unknown, "UnknownIssuer").await;
    check(with("disable", &host), "no pg_hba.conf entry").await;
    let anonymous = PostgresConfig {
        certificate: None,
        key: None,
        ..with("verify-full", &host)
    };
    let opened = PostgresStore::open(&anonymous, Clock::default()).await;
    assert!(opened.is_err());
}
