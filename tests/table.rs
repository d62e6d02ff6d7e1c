//! Tables that are wrong or missing: what a server logs about them, and what it does all the same.

use std::path::Path;
use std::process::{Output, Stdio};

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use hickory_proto::rr::{RData, RecordType};
use serde_json::json;

use crate::dynamo::{Emulator, Fate, Proxy, TABLE, once, put, s};
use crate::harness::{Answer, PATIENCE, Server, Setup, TOKEN, eventually, tinyns};
use crate::redis::{Fleet, LINES, LONG_MEMORY, RedisServer, followed, setup};

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
    create_table(emulator, TABLE, keys).await;
}

/// The same with another name.
async fn create_table(emulator: &Emulator, table: &str, keys: &[&str]) {
    let mut create = emulator.foreign().await.create_table().table_name(table);
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
    let fates = [
        Fate::Cut,
        Fate::Hang,
        Fate::error(400, "ThrottlingException"),
        // As with credentials that are not valid, or not yet.
        Fate::error(400, "UnrecognizedClientException"),
    ];
    for fate in fates {
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
        assert_eq!(static_address(&two), STATIC);
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
        // The failure of the last change counts for half a minute.
        eventually("it takes changes", 2 * PATIENCE, || {
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

/// The address of a static name of the zone, and what a server answers about it.
const STATIC: [u8; 4] = [192, 0, 2, 25];

fn static_address(server: &Server) -> [u8; 4] {
    let reply = server.ask("mail.s.example.com", RecordType::A);
    match reply.answers.first().map(|record| &record.data) {
        Some(RData::A(address)) => address.octets(),
        _ => panic!("{reply:?}"),
    }
}

/// Whether a server answers static names, and that it cannot know a link.
fn answers_without_links(server: &Server) {
    assert_eq!(static_address(server), STATIC);
    let answer = server.answer("k.s.example.com");
    assert!(matches!(answer, Answer::Unknown(Some(_))), "{answer:?}");
    assert_eq!(server.api("GET", "/healthz", None).status, 200);
}

fn is_ready(server: &Server) -> bool {
    let ready = ["/readyz", "/readyz/changes"];
    ready
        .iter()
        .all(|path| server.api("GET", path, None).status == 200)
}

#[test]
fn a_server_starts_without_redis_and_table_and_both_come_later() {
    let emulator = Emulator::start();
    let proxy = Proxy::spawn(&emulator);
    proxy.all(Fate::Hang);
    let mut redis = RedisServer::start();
    redis.kill();
    let server = setup(&proxy.url(), redis.url(), LINES).start();
    answers_without_links(&server);
    let ready = server.api("GET", "/readyz", None);
    assert_eq!(ready.status, 503, "{ready:?}");
    let reasons = ready.json()["reasons"].to_string();
    assert!(
        reasons.contains("the link store cannot be reached"),
        "{reasons}"
    );
    assert!(reasons.contains("Redis is down"), "{reasons}");
    let answer = server.api("GET", "/v1/tokens", None);
    assert_eq!(answer.status, 503, "{answer:?}");
    let checked = check(server.config());
    assert!(checked.status.success(), "{checked:?}");

    proxy.all(Fate::Pass);
    eventually("the table is used", PATIENCE, || is_ready(&server));
    let name = server.register("k", "https://example.net/");
    redis.restart_empty();
    let server = followed(server);
    assert_eq!(server.answer(&name), Answer::url("https://example.net/"));
    assert_eq!(server.api("GET", "/v1/tokens", None).status, 200);
}

/// What `tinyns check` says.
fn check(config: &Path) -> Output {
    let mut command = tinyns();
    command.arg("check").arg("--config").arg(config);
    command.env("TINYNS_ADMIN_TOKEN", TOKEN);
    command.output().unwrap()
}

#[test]
fn a_server_starts_without_credentials() {
    let emulator = Emulator::start();
    once(create(&emulator, &["miniUrl"]));
    let setup = on_table(&emulator.url());
    let variables = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let server = variables
        .iter()
        .fold(setup, |setup, variable| setup.env(variable, ""));
    let server = server.start();
    answers_without_links(&server);
    assert_eq!(server.api("GET", "/readyz", None).status, 503);
    server.log().wait_for("the server starts without the table");
    assert!(check(server.config()).status.success());
}

#[test]
fn a_server_starts_while_its_table_is_missing_and_another_table_is_another_store() {
    let fleet = Fleet::start();
    let url = fleet.emulator.url();
    let name = {
        let one = fleet.node();
        let name = one.register("k", "https://example.net/");
        assert!(fleet.redis.held(&name).is_some());
        name
    };
    let delete = async {
        fleet
            .emulator
            .foreign()
            .await
            .delete_table()
            .table_name(TABLE)
            .send()
            .await
    };
    once(delete).unwrap();
    let lines = "kind = \"dynamodb\"\nendpoint_url = ";
    let setup = setup(&url, fleet.redis.url(), LINES).store(&format!("{lines}\"{url}\"\n"));
    let server = followed(setup.start());
    let said = server.log().wait_for("the server starts without the table");
    assert!(
        said.contains("set create_table = true in [store]"),
        "{said}"
    );
    // The store that Redis knows is the one that was last at this place.
    server.wait_for_answer(&name, &Answer::url("https://example.net/"), PATIENCE);
    assert_eq!(static_address(&server), STATIC);
    assert_eq!(server.api("GET", "/readyz/changes", None).status, 503);

    once(create(&fleet.emulator, &["miniUrl"]));
    eventually("the table is used", PATIENCE, || is_ready(&server));
    server.wait_for_answer(&name, &Answer::Absent, PATIENCE);
}

#[test]
fn a_server_whose_audit_table_is_missing_answers_and_refuses_changes_until_it_comes() {
    let emulator = Emulator::start();
    once(create(&emulator, &["miniUrl"]));
    emulator.insert("k.s.example.com", "https://example.net/");
    let setup = on_table(&emulator.url()).section("[audit]\ntable = \"audit\"\n");
    let server = setup.start();
    assert_eq!(
        server.answer("k.s.example.com"),
        Answer::url("https://example.net/")
    );
    assert_eq!(server.answer("l.s.example.com"), Answer::Absent);
    let ready = server.api("GET", "/readyz", None);
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(
        ready.body.contains("the table of the audit log"),
        "{ready:?}"
    );
    assert_eq!(server.api("GET", "/readyz/changes", None).status, 503);
    let new = json!({ "url": "https://example.net/new", "code": "new" });
    assert_eq!(server.api("POST", "/v1/links", Some(&new)).status, 503);
    assert!(emulator.item("new.s.example.com").is_none());

    once(create_table(&emulator, "audit", &["bucket", "id"]));
    eventually("it takes changes", PATIENCE, || is_ready(&server));
    assert_eq!(server.api("POST", "/v1/links", Some(&new)).status, 201);
    let entries = server.api("GET", "/v1/audit", None).json();
    assert_eq!(entries["entries"].as_array().unwrap().len(), 1, "{entries}");
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
