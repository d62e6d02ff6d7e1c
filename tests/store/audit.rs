//! The part of the battery that is about the audit log.

use std::sync::Arc;

use tinyns::base::clock::UnixMillis;
use tinyns::store::audit::{Action, Actor, AuditPage, AuditQuery, Entry, Event, Facts, Object};
use tinyns::store::{Change, DocumentPut, Store};

use super::{Backend, NOW, SECOND, at_once, by, make, name, new, remove, url};

/// Entries for links: action, code, actor and time in milliseconds after [`NOW`].
fn shown(entries: &[Entry]) -> Vec<(&'static str, String, String, u64)> {
    let show = |entry: &Entry| {
        let event = &entry.event;
        let object = event.object.code().or(event.object.token());
        (
            event.action.name(),
            object.unwrap_or_default().to_owned(),
            event.actor.name.to_string(),
            event.at.0 - NOW / 1_000,
        )
    };
    entries.iter().map(show).collect()
}

/// All entries that the query takes, by pages of so many.
async fn all(store: &dyn Store, query: AuditQuery) -> Vec<Entry> {
    let mut query = query;
    let mut found = Vec::new();
    loop {
        let AuditPage { entries, next } = store.audit(query.clone()).await.unwrap();
        assert!(entries.len() <= query.limit, "{query:?}");
        found.extend(entries);
        let Some(next) = next else { return found };
        query.after = Some(next);
    }
}

fn pages_of(limit: usize) -> AuditQuery {
    AuditQuery {
        limit,
        ..AuditQuery::default()
    }
}

pub(super) async fn each_change_has_one_entry(backend: &dyn Backend) {
    let store = backend.open().await;
    let ann = Actor {
        address: Some("2001:db8::7".parse().unwrap()),
        request_id: Some("id-1".into()),
        ..Actor::from("ann")
    };
    let mut wanted = new("a", "1");
    wanted.created_by = ann.clone();
    make(&*store, wanted.clone(), NOW).await;
    // None of these changes anything.
    store.create(wanted, NOW + SECOND).await.unwrap();
    store.create(new("a", "2"), NOW + SECOND).await.unwrap();
    store
        .delete(&name("b"), None, &ann, NOW + SECOND)
        .await
        .unwrap();
    let wrong = Some(tinyns::link::Version(1));
    store
        .delete(&name("a"), wrong, &ann, NOW + SECOND)
        .await
        .unwrap();

    let change = Change {
        target: Some(url("2")),
        ..Change::default()
    };
    store
        .change(&name("a"), None, change, &by(), NOW + 2 * SECOND)
        .await
        .unwrap();
    remove(&*store, "a", NOW + 3 * SECOND + 1_999).await;
    make(&*store, new("a", "3"), NOW + 4 * SECOND).await;
    let expected = [
        ("link.created", "battery", 4_000),
        ("link.deleted", "battery", 3_001),
        ("link.changed", "battery", 2_000),
        ("link.created", "ann", 0),
    ];
    let expected = expected.map(|(action, actor, at)| (action, "a".into(), actor.into(), at));
    let entries = all(&*store, pages_of(3)).await;
    assert_eq!(shown(&entries), expected);
    assert_eq!(entries[3].event.actor, ann);
    let urls = |facts: &Option<Facts>| facts.as_ref().map(|facts| facts.members()["url"].clone());
    let states = entries
        .iter()
        .map(|entry| (urls(&entry.event.before), urls(&entry.event.after)));
    let url = |path: &str| Some(url(path).as_str().into());
    let expected = [
        (None, url("3")),
        (url("2"), None),
        (url("1"), url("2")),
        (None, url("1")),
    ];
    assert_eq!(states.collect::<Vec<_>>(), expected);

    store.close().await;
    let store = backend.open().await;
    assert_eq!(all(&*store, pages_of(10)).await, entries, "after a restart");
}

pub(super) async fn a_document_and_its_entry_are_put_together(backend: &dyn Backend) {
    let store = backend.open().await;
    let event = |token: &str, at: u64| Event {
        at: UnixMillis(NOW / 1_000 + at),
        actor: by(),
        action: Action::TokenAdded,
        object: Object::Token(token.into()),
        before: None,
        after: Facts::read("{\"role\":\"editor\"}"),
    };
    let put = async |expected, event| {
        store
            .put_document_noting("k", expected, b"x".to_vec(), Some(event))
            .await
            .unwrap()
    };
    let first = event("x", 1);
    assert_eq!(put(None, first.clone()).await, DocumentPut::Written(1));
    assert!(matches!(
        put(None, event("y", 2)).await,
        DocumentPut::Conflict(_)
    ));
    assert!(matches!(
        put(Some(9), event("y", 2)).await,
        DocumentPut::Conflict(_)
    ));
    let second = event("z", 3);
    assert_eq!(put(Some(1), second.clone()).await, DocumentPut::Written(2));
    let entries = all(&*store, pages_of(10)).await;
    let events: Vec<_> = entries.into_iter().map(|entry| entry.event).collect();
    assert_eq!(events, [second, first]);
}

pub(super) async fn entries_are_filtered_and_come_newest_first(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut expected = Vec::new();
    for number in 0..60_u32 {
        let mut wanted = new(&format!("c{number}"), "1");
        let actor = if number % 3 == 0 { "ann" } else { "bob" };
        wanted.created_by = actor.into();
        // Half of them in the same millisecond as another one; some 40 days in all.
        let at = u64::from(number / 2) * 32 * 3_600 * 1_000;
        make(&*store, wanted, NOW + at * 1_000).await;
        expected.push(("link.created", format!("c{number}"), actor.to_owned(), at));
    }
    let check = async |query: AuditQuery, takes: &dyn Fn(u64, &str, &str) -> bool| {
        let entries = all(&*store, query.clone()).await;
        let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
        assert!(ids.is_sorted_by(|a, b| a > b), "{query:?}: {ids:?}");
        let mut found = shown(&entries);
        found.sort();
        let mut wanted = expected.clone();
        wanted.retain(|(_, code, actor, at)| takes(*at, code, actor));
        wanted.sort();
        assert_eq!(found, wanted, "{query:?}");
    };
    for limit in [1, 7, 100] {
        check(pages_of(limit), &|_, _, _| true).await;
    }
    let ann = AuditQuery {
        actor: Some("ann".into()),
        ..pages_of(4)
    };
    check(ann, &|_, _, actor| actor == "ann").await;
    let code = AuditQuery {
        code: Some("c7".into()),
        ..pages_of(4)
    };
    check(code, &|_, code, _| code == "c7").await;
    let deleted = AuditQuery {
        action: Some(Action::LinkDeleted),
        ..pages_of(4)
    };
    check(deleted, &|_, _, _| false).await;
    let zone = AuditQuery {
        zone: Some("t.example.com".into()),
        ..pages_of(4)
    };
    check(zone, &|_, _, _| false).await;
    let day = |days: u64| UnixMillis(NOW / 1_000 + days * 24 * 3_600 * 1_000);
    let times = AuditQuery {
        since: Some(day(4)),
        until: Some(day(8)),
        ..pages_of(4)
    };
    let days = |at: u64| at as f64 / (24.0 * 3_600.0 * 1_000.0);
    check(times, &|at, _, _| (4.0..8.0).contains(&days(at))).await;
}

pub(super) async fn concurrent_changes_have_an_entry_each(backend: &dyn Backend) {
    let store: Arc<dyn Store> = backend.open().await;
    make(&*store, new("a", "0"), NOW).await;
    let changed = at_once(&store, |store, i| async move {
        let change = Change {
            target: Some(url(&i.to_string())),
            ..Change::default()
        };
        store.change(&name("a"), None, change, &by(), NOW + 1).await
    })
    .await;
    let entries = all(&*store, pages_of(5)).await;
    assert_eq!(entries.len(), changed.len() + 1);
    // Each change begins where another one has ended.
    let state = |facts: &Option<Facts>| facts.as_ref().map(|facts| facts.as_str().to_owned());
    let mut befores: Vec<_> = entries
        .iter()
        .map(|entry| state(&entry.event.before))
        .collect();
    let mut afters: Vec<_> = entries
        .iter()
        .map(|entry| state(&entry.event.after))
        .collect();
    let last = store.get(&name("a")).await.unwrap().unwrap();
    befores.push(Some(Facts::of_link(&last).as_str().to_owned()));
    afters.push(None);
    befores.sort();
    afters.sort();
    assert_eq!(befores, afters);
}
