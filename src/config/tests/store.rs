//! `[store]`.

use std::time::Duration;

use super::*;
use crate::store::audit::Retention;
use crate::store::{PostgresConfig, PostgresUrl, ReplicaConfig};

#[test]
fn stores() {
    let check_dynamodb = |lines: &str, expected: DynamoConfig| {
        let config = ok(&format!("[store]\nkind = \"dynamodb\"\n{lines}"));
        assert_eq!(config.store, StoreConfig::DynamoDb(expected), "{lines}");
        // Other programs may write to the table without an announcement.
        assert_eq!(config.cache, MemoryLimits::for_shared_store());
        assert_eq!(config.store_reads_per_second, NonZeroU32::new(1_000));
    };
    let default = DynamoConfig {
        table: "tinyUrl".into(),
        region: None,
        endpoint_url: None,
        create_table: false,
        feed: true,
        audit: None,
        statistics: None,
    };
    check_dynamodb("", default);
    check_dynamodb(
        "table = \"a-b_c.D9\"\nregion = \"eu-central-1\"\n\
         endpoint_url = \"http://127.0.0.1:8000\"\ncreate_table = true\n",
        DynamoConfig {
            table: "a-b_c.D9".into(),
            region: Some("eu-central-1".into()),
            endpoint_url: Some("http://127.0.0.1:8000".into()),
            create_table: true,
            feed: true,
            audit: None,
            statistics: None,
        },
    );
    check(
        "[store]\nkind = \"mysql\"\n",
        "t.toml:2: store.kind: unknown value \"mysql\", expected \"sqlite\", \"dynamodb\" or \"postgresql\"",
    );
    check(
        "[store]\npath = \"\"\n",
        "t.toml:2: store.path: a path must not be empty",
    );
}

#[test]
fn a_program_without_a_client_refuses_a_configuration_that_needs_it() {
    let features = Features {
        dynamodb: false,
        postgresql: false,
        redis: false,
    };
    let parse = |text: &str| Config::parse_for(features, text, Path::new("t.toml"));
    let text = "[store]\nkind = \"dynamodb\"\n[redis]\nurl = \"redis://127.0.0.1\"\n";
    assert_eq!(
        parse(text).unwrap_err().to_string(),
        "t.toml:2:8: store.kind: built without dynamodb: build with --features dynamodb\n\
         t.toml:3:1: redis: built without redis: build with --features redis"
    );
    assert!(parse("").is_ok());
}

#[test]
fn reads_of_the_store_have_a_bound_or_none() {
    let reads = |value: &str| format!("[store]\nkind = \"dynamodb\"\nreads_per_second = {value}\n");
    for (text, expected) in [("0", 0), ("1", 1), ("1000000", 1_000_000)] {
        let config = ok(&reads(text));
        assert_eq!(config.store_reads_per_second, NonZeroU32::new(expected));
    }
    let postgres = ok(&database("reads_per_second = 7"));
    assert_eq!(postgres.store_reads_per_second, NonZeroU32::new(7));
    for text in ["-1", "1000001"] {
        check(
            &reads(text),
            &format!(
                "t.toml:3: store.reads_per_second: {text} is not within 0 to 1000000 look-ups a \
                 second"
            ),
        );
    }
}

#[test]
fn keys_of_the_other_store_are_refused() {
    check(
        "[store]\nkind = \"dynamodb\"\npath = \"data/links.sqlite\"\n",
        "t.toml:3: store.path: belongs to the \"sqlite\" store, and kind is \"dynamodb\"",
    );
    for line in [
        "table = \"tinyUrl\"",
        "region = \"eu-central-1\"",
        "endpoint_url = \"http://127.0.0.1:8000\"",
        "create_table = false",
        "reads_per_second = 1000",
    ] {
        let (key, _) = line.split_once(' ').unwrap();
        check(
            &format!("[store]\n{line}\n"),
            &format!(
                "t.toml:2: store.{key}: belongs to the \"dynamodb\" store, and kind is \"sqlite\""
            ),
        );
    }
}

#[test]
fn places_of_a_table_are_checked() {
    let bad = |line: &str, problem: &str| {
        let (key, _) = line.split_once(' ').unwrap();
        check(
            &format!("[store]\nkind = \"dynamodb\"\n{line}\n"),
            &format!("t.toml:3: store.{key}: {problem}"),
        );
    };
    let rule = "is not the name of a table: 3 to 255 letters, digits, and any of \"_-.\"";
    for table in ["", "ab", "a b", "a/b", "grün"] {
        bad(&format!("table = {table:?}"), &format!("{table:?} {rule}"));
    }
    let rule = "is not the name of a region, such as \"eu-central-1\"";
    for region in ["", "eu central", "eu.example.com"] {
        bad(
            &format!("region = {region:?}"),
            &format!("{region:?} {rule}"),
        );
    }
    let rule = "is not an http or https URL, such as \"http://127.0.0.1:8000\"";
    for url in ["", "127.0.0.1:8000", "localhost:8000", "ftp://127.0.0.1/"] {
        bad(
            &format!("endpoint_url = {url:?}"),
            &format!("{url:?} {rule}"),
        );
    }
    let text = "[store]\nkind = \"dynamodb\"\ncreate_table = \"yes\"\n";
    let message = parse(text).unwrap_err().to_string();
    assert!(
        message.starts_with("t.toml:3:16: store.create_table: "),
        "{message}"
    );
}

/// A configuration with a database and further lines of `[store]`.
fn database(lines: &str) -> String {
    format!("[store]\nkind = \"postgresql\"\nurl = \"postgresql://u:secret@db/x\"\n{lines}\n")
}

#[test]
fn databases() {
    let check = |lines: &str, expected: fn(&mut PostgresConfig)| {
        let config = ok(&database(lines));
        let StoreConfig::Postgres(found) = config.store else {
            panic!("{:?}", config.store);
        };
        let mut wanted = PostgresConfig {
            url: PostgresUrl::parse("postgresql://u:secret@db/x").unwrap(),
            password_file: None,
            ca_file: None,
            certificate: None,
            key: None,
            pool: 12,
            statement_timeout: Duration::from_secs(5),
            audit: Some(Retention::default()),
            replica: None,
        };
        expected(&mut wanted);
        assert_eq!(*found, wanted, "{lines}");
        assert_eq!(config.cache, MemoryLimits::for_shared_store());
        assert_eq!(config.store_reads_per_second, NonZeroU32::new(1_000));
    };
    check("", |_| {});
    check("password_file = \"p\"\nca_file = \"a\"", |config| {
        config.password_file = Some("p".into());
        config.ca_file = Some("a".into());
    });
    check("certificate = \"c\"\nkey = \"k\"", |config| {
        (config.certificate, config.key) = (Some("c".into()), Some("k".into()));
    });
    check("pool = 4\nstatement_timeout = 60", |config| {
        (config.pool, config.statement_timeout) = (4, Duration::from_secs(60));
    });
    let near = "replica_url = \"postgresql://u@near/x\"";
    check(near, |config| {
        let (url, lag) = ("postgresql://u@near/x", Duration::from_secs(5));
        let url = PostgresUrl::parse_replica(url).unwrap();
        config.replica = Some(ReplicaConfig { url, lag });
    });
    // Certificates are of use if they are for one of the two.
    let here = "replica_url = \"postgresql://u@localhost/x\"\nreplica_lag = 3600\nca_file = \"a\"";
    check(here, |config| {
        let (url, lag) = ("postgresql://u@localhost/x", Duration::from_secs(3_600));
        let url = PostgresUrl::parse_replica(url).unwrap();
        config.replica = Some(ReplicaConfig { url, lag });
        config.ca_file = Some("a".into());
    });
    check("[audit]\nenabled = false", |config| config.audit = None);
    check("[audit]\nkeep_days = 2\nmax_entries = 3", |config| {
        let (keep, max_entries) = (2 * 24 * 60 * 60, 3);
        config.audit = Some(Retention { keep, max_entries });
    });
}

#[test]
fn what_is_wrong_with_a_database_is_said_without_its_url() {
    let bad = |lines: &str, place: &str, problem: &str| {
        let text = database(lines);
        let message = parse(&text).unwrap_err().to_string();
        assert!(!message.contains("secret"), "{message}");
        assert!(message.starts_with(place), "{message}");
        assert!(message.contains(problem), "{message}");
    };
    bad(
        "pool = 3",
        "t.toml:4:8: store.pool: ",
        "4 to 400 connections",
    );
    bad(
        "statement_timeout = 0",
        "t.toml:4:21: store.statement_timeout: ",
        "1 to 60 seconds",
    );
    bad(
        "replica_url = \"postgresql://u:secret@a,b/x\"",
        "t.toml:4:15: store.replica_url: ",
        "2 hosts; the URL of a replica has exactly one",
    );
    let near = "replica_url = \"postgresql://u:secret@near/x\"";
    for lag in ["0", "3601"] {
        bad(
            &format!("{near}\nreplica_lag = {lag}"),
            "t.toml:5:15: store.replica_lag: ",
            "1 to 3600 seconds",
        );
    }
    bad(
        "replica_lag = 5",
        "t.toml:4:15: store.replica_lag: ",
        "\"replica_lag\" needs \"replica_url\"",
    );
    bad(
        "key = \"k\"",
        "t.toml:4:7: store.key: ",
        "needs \"certificate\"",
    );
    bad(
        "path = \"p\"",
        "t.toml:4:8: store.path: ",
        "kind is \"postgresql\"",
    );
    bad(
        "[audit]\ntable = \"log\"",
        "t.toml:5:9: audit.table: ",
        "kind is \"postgresql\"",
    );
    let check_url = |url: &str, lines: &str, problem: &str| {
        let text = format!("[store]\nkind = \"postgresql\"\nurl = {url:?}\n{lines}\n");
        let message = parse(&text).unwrap_err().to_string();
        assert!(message.contains(problem), "{message}");
        assert!(!message.contains("secret"), "{message}");
    };
    check_url("secret", "", "store.url: not a postgresql:// URL");
    let url = "postgresql://u:secret@db/x?sslmode=";
    check_url(
        &format!("{url}disable"),
        "ca_file = \"a\"",
        "store.ca_file: certificates are not checked",
    );
    check_url(
        &format!("{url}prefer"),
        "ca_file = \"a\"",
        "store.ca_file: certificates are not checked",
    );
    check_url(
        &format!("{url}disable"),
        "certificate = \"c\"\nkey = \"k\"",
        "store.certificate: only for TLS",
    );
    check(
        "[store]\nkind = \"postgresql\"\n",
        "t.toml:1: store: missing; [store] needs \"url\"",
    );
    let text = "[store]\nurl = \"postgresql://u:secret@db/x\"\n";
    let message = parse(text).unwrap_err().to_string();
    assert!(
        message.contains("belongs to the \"postgresql\" store"),
        "{message}"
    );
}
