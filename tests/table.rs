//! Tables that are wrong or missing: what a server logs about them, and what it does all the same.

use std::process::{Output, Stdio};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use serde_json::json;

use crate::dynamo::{Emulator, Fate, Proxy, TABLE, once, put, s};
use crate::harness::{Answer, PATIENCE, Server, Setup, TOKEN, eventually, tinyns};
use crate::redis::{Fleet, LINES, LONG_MEMORY, followed, setup};

/// The setup of a server on this table, without Redis.
fn on_table(url: &str) -> Setup {
    Setup::new().store(&format!("kind = \"dynamodb\"\nendpoint_url = \"{url}\"\n"))
}

/// A start that is to fail.
fn refused(setup: &Setup) -> String {
    let mut command = tinyns();
    command.arg("serve").arg("--config").arg(setup.write());
    command.env("TINYNS_ADMIN_TOKEN", TOKEN);
    let mut child = crate::harness::Process(command.stderr(Stdio::piped()).spawn().unwrap());
    let status = crate::harness::wait(&mut child.0);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.0.stderr.take().unwrap(), &mut text).unwrap();
    assert!(!status.success(), "{text}");
    text
}

fn import(server: &Server, url: &str) -> Output {
    let mut command = tinyns();
    command.args([
        "import",
        "dynamodb",
        "--table",
        TABLE,
        "--endpoint-url",
        url,
    ]);
    command
        .env("TINYNS_SERVER", format!("http://{}", server.admin))
        .env("TINYNS_ADMIN_TOKEN", TOKEN);
    command.output().unwrap()
}

/// A table with these keys, all strings.
async fn create(emulator: &Emulator, keys: &[&str]) {
    let mut create = emulator.foreign().await.create_table().table_name(TABLE);
    for (name, kind) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        let definition = AttributeDefinition::builder()
            .attribute_name(*name)
            .attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder()
            .attribute_name(*name)
            .key_type(kind);
        create = create
            .attribute_definitions(definition.build().unwrap())
            .key_schema(key.build().unwrap());
    }
    let created = create.billing_mode(BillingMode::PayPerRequest).send().await;
    created.unwrap();
}

#[test]
fn a_server_starts_while_the_table_is_away_and_opens_it_later() {
    const LINKS: usize = 5;
    for fate in [Fate::Cut, Fate::error(400, "ThrottlingException")] {
        let fleet = Fleet::start();
        let proxy = Proxy::spawn(&fleet.emulator);
        let one = fleet.node();
        let names: Vec<String> = (0..LINKS)
            .map(|n| one.register(&format!("k{n}"), "https://example.net/"))
            .collect();
        let url = Answer::url("https://example.net/");
        let lines = LINES.replace("warm_load = false", "warm_load = true");
        let second = || {
            let two = setup(&proxy.url(), fleet.redis.url(), &lines).section(LONG_MEMORY);
            followed(two.start())
        };
        // Redis remembers which table was at this endpoint.
        drop(second());
        // The second server comes back, and has nothing but Redis.
        proxy.all(fate);
        let two = second();
        for name in &names {
            two.wait_for_answer(name, &url, PATIENCE);
        }
        let answer = two.answer("absent.s.example.com");
        assert!(matches!(answer, Answer::Unknown(Some(_))), "{answer:?}");
        let ready = two.api("GET", "/readyz", None);
        assert_eq!(ready.status, 200, "{ready:?}");
        assert_eq!(ready.json()["status"], "degraded");
        assert_eq!(two.api("GET", "/readyz/changes", None).status, 503);
        let new = json!({ "url": "https://example.net/new", "code": "new" });
        assert_eq!(two.api("POST", "/v1/links", Some(&new)).status, 503);
        two.log().wait_for("the server starts without the table");

        proxy.all(Fate::Pass);
        eventually("it takes changes", PATIENCE, || {
            two.api("GET", "/readyz/changes", None).status == 200
        });
        two.log().wait_for("can be used now");
        assert_eq!(two.api("POST", "/v1/links", Some(&new)).status, 201);
        one.wait_for_answer(
            "new.s.example.com",
            &Answer::url("https://example.net/new"),
            PATIENCE,
        );
        eventually("the links are loaded", PATIENCE, || {
            two.api("GET", "/readyz", None).json()["warm_load"]["state"] == "done"
        });
    }
}

#[test]
fn faults_that_only_an_operator_can_repair_fail_the_start() {
    let emulator = Emulator::start();
    let missing = refused(&on_table(&emulator.url()));
    assert!(missing.contains("does not exist"), "{missing}");
    let proxy = Proxy::spawn(&emulator);
    proxy.all(Fate::error(400, "UnrecognizedClientException"));
    let stranger = refused(&on_table(&proxy.url()));
    assert!(
        stranger.contains("UnrecognizedClientException"),
        "{stranger}"
    );
}

#[test]
fn a_table_with_bare_codes_as_keys_is_reported() {
    let emulator = Emulator::start();
    once(create(&emulator, &["miniUrl"]));
    for code in ["aB3x_", "Zz9"] {
        emulator.insert(code, "https://example.net/");
    }
    let server = on_table(&emulator.url()).start();
    let line = server
        .log()
        .wait_for("2 of the first 2 items have a bare code as key");
    assert!(
        line.contains("tinyns import dynamodb --table tinyUrl"),
        "{line}"
    );
    eventually("/readyz tells", PATIENCE, || {
        let ready = server.api("GET", "/readyz", None);
        ready.status == 200 && ready.json()["reasons"].to_string().contains("bare codes")
    });
    // The advice in the message helps: after the next start there are names.
    let done = import(&server, &emulator.url());
    assert!(done.status.success(), "{done:?}");
    assert_eq!(
        server.answer("zz9.s.example.com"),
        Answer::url("https://example.net/")
    );
    let server = server.restart();
    server
        .log()
        .wait_for("of the first 4 items have a bare code as key");
    assert_eq!(server.api("GET", "/readyz", None).json()["status"], "ready");
}

#[test]
fn a_table_with_the_code_as_its_sort_key_is_imported_and_not_served() {
    let emulator = Emulator::start();
    once(async {
        create(&emulator, &["fullUrl", "miniUrl"]).await;
        let client = emulator.foreign().await;
        for number in 0..1_200 {
            let (code, url) = (
                format!("c{number}"),
                format!("https://example.net/{number}"),
            );
            put(&client, &[("fullUrl", s(&url)), ("miniUrl", s(&code))]).await;
        }
    });
    let said = refused(&on_table(&emulator.url()));
    assert!(
        said.contains("fullUrl (S, HASH) and miniUrl (S, RANGE)"),
        "{said}"
    );
    assert!(
        said.contains("tinyns import dynamodb --table tinyUrl"),
        "{said}"
    );

    let server = Server::start();
    let done = import(&server, &emulator.url());
    assert!(done.status.success(), "{done:?}");
    for number in [0, 7, 1_199] {
        let answer = server.answer(&format!("c{number}.s.example.com"));
        assert_eq!(answer, Answer::Url(format!("https://example.net/{number}")));
    }
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("read 1200: made 1200"), "{said}");
}
