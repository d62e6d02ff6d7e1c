//! `[store]`.

use super::*;

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
        audit: None,
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
            audit: None,
        },
    );
    check(
        "[store]\nkind = \"mysql\"\n",
        "t.toml:2: store.kind: unknown value \"mysql\", expected \"sqlite\" or \"dynamodb\"",
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
