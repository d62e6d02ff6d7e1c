//! The DynamoDB store on an emulator: its contract, the table and its items.

mod failures;
mod statistics;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType,
};
use tinyns::store::{AuditTable, DynamoConfig, DynamoOpenError, DynamoStore};

use super::withheld::admin;
use super::*;
use crate::dynamo::{self, Emulator, Fate, Proxy, TABLE, n, put, s};

/// Longer than any read may take, also on a busy machine: the time for which a query waits for its link.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// Longer than any write may take: the time for which a call of the API waits.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

#[async_trait]
impl Backend for Emulator {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(dynamo::open(&dynamo::config(&self.url())).await.unwrap())
    }
}

store_battery!(Emulator::start());
audit_battery!(WithAudit(Emulator::start()));

/// A backend whose changes have entries in a table of their own.
struct WithAudit(Emulator);

#[async_trait]
impl Backend for WithAudit {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(dynamo::open(&with_audit(&self.0.url())).await.unwrap())
    }
}

/// The usual table and one for the audit log, which keeps entries for a hundred years.
fn with_audit(url: &str) -> DynamoConfig {
    let audit = AuditTable {
        name: "audit".into(),
        keep: 36_500 * 24 * 60 * 60,
    };
    DynamoConfig {
        audit: Some(audit),
        ..dynamo::config(url)
    }
}

#[tokio::test]
async fn entries_leave_the_table_of_links_alone_and_have_an_end() {
    let emulator = Emulator::start();
    let store = dynamo::open(&with_audit(&emulator.url())).await.unwrap();
    make(&store, new("a", "1"), NOW).await;
    remove(&store, "a", NOW + SECOND).await;
    let foreign = emulator.foreign().await;
    let scan = |table: &str| foreign.scan().table_name(table).send();
    let links = scan(TABLE).await.unwrap();
    let is_entry = |item: &HashMap<String, AttributeValue>| item.contains_key("bucket");
    assert!(!links.items().iter().any(is_entry), "{links:?}");
    let entries = scan("audit").await.unwrap();
    assert_eq!(entries.count(), 2);
    let end = NOW / SECOND + 36_500 * 24 * 60 * 60;
    for entry in entries.items() {
        let ends: u64 = entry["expiresAt"].as_n().unwrap().parse().unwrap();
        assert!((end..=end + 1).contains(&ends), "{ends}");
    }
}

#[tokio::test]
async fn a_change_whose_entry_fails_is_not_acknowledged() {
    let emulator = Emulator::start();
    let store = dynamo::open(&with_audit(&emulator.url())).await.unwrap();
    make(&store, new("a", "1"), NOW).await;
    let foreign = emulator.foreign().await;
    foreign
        .delete_table()
        .table_name("audit")
        .send()
        .await
        .unwrap();
    let error = store.create(new("b", "1"), NOW).await.unwrap_err();
    assert!(!error.is_certain(), "{error}");
    assert!(error.to_string().contains("audit log"), "{error}");
}

#[tokio::test]
async fn a_table_with_another_key_is_no_audit_log() {
    let emulator = Emulator::start();
    dynamo::open(&dynamo::config(&emulator.url()))
        .await
        .unwrap();
    let mut config = with_audit(&emulator.url());
    config.audit.as_mut().unwrap().name = TABLE.into();
    let error = dynamo::open(&config).await.unwrap_err();
    assert!(error.to_string().contains("bucket (S, HASH)"), "{error}");
}

#[tokio::test]
async fn without_a_table_for_it_there_is_no_audit_log() {
    let emulator = Emulator::start();
    let store = dynamo::open(&dynamo::config(&emulator.url()))
        .await
        .unwrap();
    let error = store.audit(Default::default()).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
}

/// A store behind a proxy, and the table behind both.
struct Way {
    emulator: Emulator,
    proxy: Proxy,
    store: DynamoStore,
}

impl Way {
    async fn new() -> Self {
        let emulator = Emulator::start();
        let proxy = Proxy::start(&emulator).await;
        let store = dynamo::open(&dynamo::config(&proxy.url())).await.unwrap();
        proxy.requests();
        Self {
            emulator,
            proxy,
            store,
        }
    }
}

/// Opening must fail; gives why, and checks that the message is one line that names the table.
async fn refused(config: &DynamoConfig) -> DynamoOpenError {
    let error = dynamo::open(config).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&config.table), "{message}");
    assert!(message.contains("http://127.0.0.1:"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    error
}

#[tokio::test]
async fn a_missing_table_is_named_or_created() {
    let emulator = Emulator::start();
    let wanted = dynamo::config(&emulator.url());
    let strict = DynamoConfig {
        create_table: false,
        ..wanted.clone()
    };
    let error = refused(&strict).await;
    assert!(matches!(error, DynamoOpenError::Missing { .. }), "{error}");
    assert!(error.to_string().contains("create_table"), "{error}");

    // Nodes of a fleet that start at once.
    let opened = join_all((0..4).map(|_| dynamo::open(&wanted))).await;
    assert!(opened.iter().all(Result::is_ok), "{opened:?}");
    let client = emulator.foreign().await;
    let ttl = client.describe_time_to_live().table_name(TABLE);
    let ttl = ttl.send().await.unwrap().time_to_live_description.unwrap();
    assert_eq!(ttl.attribute_name(), Some("expiresAt"));
    assert_eq!(ttl.time_to_live_status().unwrap().as_str(), "ENABLED");
    let table = client.describe_table().table_name(TABLE);
    let table = table.send().await.unwrap().table.unwrap();
    let billing = table.billing_mode_summary().unwrap().billing_mode();
    assert_eq!(billing, Some(&BillingMode::PayPerRequest));
    dynamo::open(&strict).await.unwrap();
}

#[tokio::test]
async fn a_table_of_another_key_is_refused() {
    use ScalarAttributeType::{N, S};
    for (keys, shown) in [
        (vec![("id", S)], "id (S, HASH)"),
        (vec![("miniUrl", N)], "miniUrl (N, HASH)"),
        (
            vec![("miniUrl", S), ("at", N)],
            "miniUrl (S, HASH) and at (N, RANGE)",
        ),
    ] {
        let emulator = Emulator::start();
        let mut create = emulator.foreign().await.create_table().table_name(TABLE);
        for (i, (name, kind)) in keys.into_iter().enumerate() {
            let key = [KeyType::Hash, KeyType::Range][i].clone();
            let definition = AttributeDefinition::builder()
                .attribute_name(name)
                .attribute_type(kind);
            let key = KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(key);
            create = create
                .attribute_definitions(definition.build().unwrap())
                .key_schema(key.build().unwrap());
        }
        let created = create.billing_mode(BillingMode::PayPerRequest).send().await;
        created.unwrap();
        let error = refused(&dynamo::config(&emulator.url())).await;
        assert!(
            matches!(error, DynamoOpenError::KeySchema { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(shown), "{error}");
    }
}

#[tokio::test]
async fn an_unreachable_endpoint_is_reported_in_time() {
    let began = Instant::now();
    // The discard port, where no server listens.
    let error = refused(&dynamo::config("http://127.0.0.1:9")).await;
    assert!(matches!(error, DynamoOpenError::Failed { .. }), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(began.elapsed() < WRITE_LIMIT);

    let config = dynamo::config("http://127.0.0.1:9");
    let settings = DynamoStore::settings().no_credentials();
    let error = DynamoStore::open_with(&config, settings).await.unwrap_err();
    assert!(error.to_string().contains("redential"), "{error}");
}

/// An item as the article's script writes it.
async fn foreign_link(client: &Client, code: &str, path: &str, more: &[(&str, AttributeValue)]) {
    let key = s(name(code).as_str());
    let mut item = vec![("miniUrl", key), ("fullUrl", s(url(path).as_str()))];
    item.extend_from_slice(more);
    put(client, &item).await;
}

/// The raw item of a code.
async fn raw(client: &Client, code: &str) -> HashMap<String, AttributeValue> {
    let get = client.get_item().table_name(TABLE);
    let key = s(name(code).as_str());
    let found = get.key("miniUrl", key).send().await.unwrap();
    found.item.unwrap_or_default()
}

#[tokio::test]
async fn items_of_the_script_in_the_article_are_links() {
    let emulator = Emulator::start();
    let store = emulator.open().await;
    let client = emulator.foreign().await;
    foreign_link(&client, "a", "1", &[("clicks", n(7))]).await;
    let link = store.get(&name("a")).await.unwrap().unwrap();
    assert_eq!((link.target.clone(), link.version), (url("1"), Version(0)));
    assert_eq!((link.created_at, &*link.created_by), (UnixTime(0), ""));
    assert_eq!(
        list_all(&*store, ZONE, 10).await,
        std::slice::from_ref(&link)
    );

    let same = store.create(new("a", "1"), NOW).await.unwrap();
    assert_eq!(same, Created::Same(link.clone()));
    let taken = store.create(new("a", "2"), NOW).await.unwrap();
    assert_eq!(taken, Created::Taken(link.clone()));
    let change = Change {
        target: Some(url("2")),
        ..Change::default()
    };
    let (a, me) = (name("a"), by());
    let stale = store.change(&a, Some(Version(1)), change.clone(), &me, NOW);
    assert_eq!(stale.await.unwrap(), Changed::Conflict(link));
    let changed = store
        .change(&name("a"), Some(Version(0)), change, &by(), NOW)
        .await;
    let Changed::Changed(changed) = changed.unwrap() else {
        panic!("not changed");
    };
    assert_eq!((changed.target, changed.version), (url("2"), Version(NOW)));
    // Attributes of other programs stay.
    assert_eq!(raw(&client, "a").await.get("clicks"), Some(&n(7)));

    foreign_link(&client, "b", "1", &[]).await;
    let deleted = store.delete(&name("b"), None, &by(), NOW).await.unwrap();
    assert_eq!(deleted, Deleted::Deleted(Version(NOW)));
    check_get(&*store, "b", None).await;
}

#[tokio::test]
async fn expired_items_that_dynamodb_still_has_are_absent() {
    let emulator = Emulator::start();
    let store = emulator.open().await;
    let client = emulator.foreign().await;
    let ended = [("expiresAt", n(NOW / SECOND))];
    foreign_link(&client, "a", "1", &ended).await;
    foreign_link(&client, "b", "1", &ended).await;
    let deleted = store.delete(&name("a"), None, &by(), NOW).await.unwrap();
    assert_eq!(deleted, Deleted::Absent);
    let changed = store
        .change(&name("a"), None, Change::default(), &by(), NOW)
        .await;
    assert_eq!(changed.unwrap(), Changed::Absent);
    make(&*store, new("a", "2"), NOW).await;
    // A second earlier it still is.
    let taken = store.create(new("b", "2"), NOW - 1).await.unwrap();
    assert!(matches!(taken, Created::Taken(_)));
}

#[tokio::test]
async fn garbage_is_reported_and_left_out_of_lists() {
    let emulator = Emulator::start();
    let store = emulator.open().await;
    let client = emulator.foreign().await;
    let good = make(&*store, new("good", "1"), NOW).await;
    let item = |code: &str| ("miniUrl", s(name(code).as_str()));
    put(&client, &[item("nourl")]).await;
    put(
        &client,
        &[item("ftp"), ("fullUrl", s("ftp://example.net/"))],
    )
    .await;
    foreign_link(&client, "when", "1", &[("expiresAt", s("soon"))]).await;
    foreign_link(&client, "which", "1", &[("version", s("new"))]).await;
    for code in ["nourl", "ftp", "when", "which"] {
        let error = store.get(&name(code)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{code}: {error}"
        );
        assert!(error.to_string().contains(code), "{error}");
        let error = store.create(new(code, "1"), NOW).await;
        assert!(!matches!(error, Ok(Created::New(_))), "{code}");
    }
    for code in ["nourl", "when", "which"] {
        let error = store
            .delete(&name(code), None, &by(), NOW)
            .await
            .unwrap_err();
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{code}: {error}"
        );
    }
    assert_eq!(list_all(&*store, ZONE, 1).await, [good]);
    // An operator can still delete an item with a bad URL.
    let deleted = store.delete(&name("ftp"), None, &by(), NOW).await.unwrap();
    assert!(matches!(deleted, Deleted::Deleted(_)));
}

#[tokio::test]
async fn pages_get_past_keys_that_are_no_names() {
    let emulator = Emulator::start();
    let store = emulator.open().await;
    let client = emulator.foreign().await;
    for i in 0..60 {
        for key in [format!("http://tiny/{i}"), format!("Q{i}.{ZONE}")] {
            put(
                &client,
                &[("miniUrl", s(&key)), ("fullUrl", s("http://y/"))],
            )
            .await;
        }
    }
    let whole = Segment { index: 0, total: 1 };
    assert_eq!(scan_all(&*store, whole, 1).await, []);
    let mut made = BTreeSet::new();
    for i in 0..20 {
        made.insert(make(&*store, new(&format!("c{i}"), "1"), NOW).await.name);
    }
    for limit in [1, 3, 100] {
        // DynamoDB does not promise one order for both.
        let scanned = scan_all(&*store, whole, limit).await;
        let listed = list_all(&*store, ZONE, limit).await;
        for links in [scanned, listed] {
            assert_eq!(links.len(), made.len(), "pages of {limit}");
            assert!(links.iter().all(|link| made.contains(&link.name)));
        }
    }
}

#[tokio::test]
async fn a_tombstone_is_never_answered_as_a_link() {
    let emulator = Emulator::start();
    let store = emulator.open().await;
    let client = emulator.foreign().await;
    let rich = NewLink {
        ttl: Ttl::from_secs(5),
        withheld: withheld("abuse", "Phishing", None),
        ..ending("a", "1", NOW + 60 * SECOND)
    };
    make(&*store, rich, NOW).await;
    let deleted = store
        .delete(&name("a"), None, &admin(), NOW + 5 * SECOND)
        .await
        .unwrap();
    let Deleted::Deleted(gone) = deleted else {
        panic!("not deleted");
    };
    let week = 7 * 24 * 60 * 60;
    let expected = HashMap::from([
        ("miniUrl".into(), s(name("a").as_str())),
        ("version".into(), n(gone.0)),
        ("deletedAt".into(), n(NOW / SECOND + 5)),
        ("expiresAt".into(), n(NOW / SECOND + 5 + week)),
    ]);
    assert_eq!(raw(&client, "a").await, expected);
    assert_eq!(list_all(&*store, ZONE, 10).await, []);
    let again = store
        .delete(&name("a"), Some(gone), &by(), NOW)
        .await
        .unwrap();
    assert_eq!(again, Deleted::Absent);

    // A clock that is behind: one request more, and above it all the same.
    let reborn = make(&*store, new("a", "2"), NOW).await;
    assert!(reborn.version > gone);
    assert!(!raw(&client, "a").await.contains_key("deletedAt"));
    remove(&*store, "a", NOW).await;

    // DynamoDB sweeps; nothing depends on the tombstone to be there.
    let delete = client.delete_item().table_name(TABLE);
    let key = s(name("a").as_str());
    delete.key("miniUrl", key).send().await.unwrap();
    make(&*store, new("a", "3"), NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_changes_without_a_version_all_count() {
    let emulator = Emulator::start();
    let store = emulator.open().await;
    make(&*store, new("a", "start"), NOW).await;
    // All with one time, which is also that of the link's own version.
    let results = at_once(&store, |store, i| async move {
        let change = Change {
            target: Some(url(&i.to_string())),
            ..Change::default()
        };
        store.change(&name("a"), None, change, &by(), NOW).await
    })
    .await;
    let versions: BTreeSet<Version> = results
        .into_iter()
        .map(|result| match result {
            Changed::Changed(link) => link.version,
            other => panic!("not changed: {other:?}"),
        })
        .collect();
    assert_eq!(versions.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_table_are_one() {
    let emulator = Emulator::start();
    let (one, two) = (emulator.open().await, emulator.open().await);
    let link = make(&*one, new("a", "1"), NOW).await;
    check_get(&*two, "a", Some(&link)).await;
    for i in 0..20 {
        let code = format!("both{i}");
        let (a, b) = tokio::join!(
            one.create(new(&code, "1"), NOW + 1),
            two.create(new(&code, "2"), NOW + 1)
        );
        let (a, b) = (a.unwrap(), b.unwrap());
        let link = match (&a, &b) {
            (Created::New(link), Created::Taken(seen)) => (link, seen),
            (Created::Taken(seen), Created::New(link)) => (link, seen),
            other => panic!("{other:?}"),
        };
        assert_eq!(link.0, link.1);
    }
}

#[tokio::test]
async fn many_names_at_once() {
    let way = Way::new().await;
    let client = way.emulator.foreign().await;
    let mut links = Vec::new();
    for i in 0..120 {
        links.push(make(&way.store, new(&format!("c{i}"), "1"), NOW).await);
    }
    put(&client, &[("miniUrl", s(name("bad").as_str()))]).await;
    make(&way.store, new("gone", "1"), NOW).await;
    remove(&way.store, "gone", NOW).await;
    way.proxy.requests();
    let mut names: Vec<_> = links.iter().map(|link| link.name.clone()).collect();
    names.extend(["bad", "gone", "absent", "c7"].map(name));
    let mut found = way.store.get_many(&names).await;
    assert_eq!(way.proxy.requests(), 2);
    assert_eq!(found.pop().unwrap().unwrap(), Some(links[7].clone()));
    assert_eq!(found.pop().unwrap().unwrap(), None);
    assert_eq!(found.pop().unwrap().unwrap(), None);
    let bad = found.pop().unwrap();
    assert!(matches!(bad, Err(StoreError::Corrupt { .. })), "{bad:?}");
    let found: Vec<_> = found
        .into_iter()
        .map(|link| link.unwrap().unwrap())
        .collect();
    assert_eq!(found, links);
    assert!(way.store.get_many(&[]).await.is_empty());
}

#[tokio::test]
async fn unprocessed_keys_of_dynamodb_are_requested_again() {
    let way = Way::new().await;
    let link = make(&way.store, new("a", "1"), NOW).await;
    let key = serde_json::json!({ "miniUrl": { "S": name("a").as_str() } });
    let undone = serde_json::json!({
        "Responses": {},
        "UnprocessedKeys": { TABLE: { "Keys": [key] } },
    });
    let undone = Fate::Reply(200, undone.to_string());
    way.proxy.next([undone.clone(), undone.clone()]);
    let found = way.store.get_many(&[name("a")]).await.remove(0);
    assert_eq!(found.unwrap(), Some(link));

    way.proxy.all(undone);
    let began = Instant::now();
    let found = way.store.get_many(&[name("a")]).await.remove(0);
    assert!(matches!(found, Err(StoreError::Throttled(_))), "{found:?}");
    assert!(began.elapsed() < READ_LIMIT);
}

#[tokio::test]
async fn the_conflicting_item_is_read_if_dynamodb_does_not_return_it() {
    let way = Way::new().await;
    let link = make(&way.store, new("a", "1"), NOW).await;
    let soon = NewLink {
        expires_at: Some(UnixTime(NOW / 1_000_000 + 10)),
        ..new("ends", "1")
    };
    let ends = make(&way.store, soon, NOW).await;
    way.proxy.all(Fate::WithoutItem);
    let later = NOW + 60_000_000;
    let same = way.store.create(new("a", "1"), later).await.unwrap();
    assert_eq!(same, Created::Same(link.clone()));
    let taken = way.store.create(new("a", "2"), later).await.unwrap();
    assert_eq!(taken, Created::Taken(link.clone()));
    let change = || Change {
        ttl: Some(Ttl::from_secs(60)),
        ..Change::default()
    };
    let wrong = Some(Version(1));
    let conflict = way
        .store
        .change(&name("a"), wrong, change(), &by(), later)
        .await;
    assert_eq!(conflict.unwrap(), Changed::Conflict(link.clone()));
    let conflict = way
        .store
        .delete(&name("a"), wrong, &by(), later)
        .await
        .unwrap();
    assert_eq!(conflict, Deleted::Conflict(link.clone()));
    let absent = way
        .store
        .change(&name("b"), None, change(), &by(), later)
        .await;
    assert_eq!(absent.unwrap(), Changed::Absent);
    let absent = way
        .store
        .change(&name("ends"), None, change(), &by(), later)
        .await;
    assert_eq!(absent.unwrap(), Changed::Absent);
    // With a clock that is behind, and over an expired link.
    let changed = way
        .store
        .change(&name("a"), None, change(), &by(), NOW - 9)
        .await;
    let Changed::Changed(changed) = changed.unwrap() else {
        panic!("not changed");
    };
    assert!(changed.version > link.version);
    let Deleted::Deleted(gone) = way
        .store
        .delete(&name("a"), None, &by(), NOW - 9)
        .await
        .unwrap()
    else {
        panic!("not deleted");
    };
    assert!(gone > changed.version);
    let again = make(&way.store, new("a", "3"), NOW - 9).await;
    assert!(again.version > gone);
    let again = make(&way.store, new("ends", "3"), later).await;
    assert!(again.version > ends.version);
}
