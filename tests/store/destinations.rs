//! Links with several destinations.

use tinyns::link::{Destinations, Link, Rank, TargetUrl};
use tinyns::store::{
    Adopted, Change, Changed, Created, NewLink, Query, SearchText, Segment, State, Store,
};

use super::find::find_all;
use super::lists::scan_all;
use super::{
    Backend, NOW, SECOND, ZONE, by, check_get, ending, list_all, make, name, new, origin, remove,
    url,
};

/// A new link to `https://example.net/<path>` for each of these, with their priorities and weights.
fn several(code: &str, list: &[(&str, u16, u16)]) -> NewLink {
    let (target, destinations) = terms(list);
    NewLink {
        target,
        destinations,
        ..new(code, "")
    }
}

fn terms(list: &[(&str, u16, u16)]) -> (TargetUrl, Option<Box<Destinations>>) {
    let ranked =
        |&(path, priority, weight): &(&str, u16, u16)| (url(path), Rank { priority, weight });
    Destinations::of(list.iter().map(ranked).collect()).unwrap()
}

/// The last segments of the URLs, with the ranks.
fn shown(link: &Link) -> String {
    let one = |(url, rank): (&TargetUrl, Rank)| {
        let (_, path) = url.as_str().rsplit_once('/').unwrap();
        format!("{path} {} {}", rank.priority, rank.weight)
    };
    link.ranked().map(one).collect::<Vec<_>>().join(", ")
}

async fn change(store: &dyn Store, change: Change) -> Link {
    let changed = store.change(&name("a"), None, change, &by(), NOW + 9).await;
    match changed.unwrap() {
        Changed::Changed(link) => link,
        other => panic!("{other:?}"),
    }
}

fn to(path: &str) -> Change {
    Change {
        target: Some(url(path)),
        ..Change::default()
    }
}

pub(super) async fn several_destinations_are_kept(backend: &dyn Backend) {
    let store = backend.open().await;
    let list = [("c", 20, 0), ("a", 10, 9), ("b", 10, 65_535)];
    let link = make(&*store, several("a", &list), NOW).await;
    assert_eq!(shown(&link), "b 10 65535, a 10 9, c 20 0");
    store.close().await;

    let store = backend.open().await;
    check_get(&*store, "a", Some(&link)).await;
    let all = std::slice::from_ref(&link);
    let whole = Segment { index: 0, total: 1 };
    assert_eq!(list_all(&*store, ZONE, 9).await, all);
    assert_eq!(scan_all(&*store, whole, 9).await, all);
    // It is the same link only with the same destinations.
    let create = async |new| store.create(new, NOW + 1).await.unwrap();
    let found = create(several("a", &list)).await;
    assert_eq!(found, Created::Same(link.clone()));
    let found = create(new("a", "b")).await;
    assert_eq!(found, Created::Taken(link.clone()));
    let found = create(several("a", &[("b", 10, 65_535), ("a", 10, 9)])).await;
    assert_eq!(found, Created::Taken(link.clone()));

    let later = Link {
        version: tinyns::link::Version(link.version.0 + 1),
        ..link.clone()
    };
    assert_eq!(store.adopt(&later).await.unwrap(), Adopted::Written);
    check_get(&*store, "a", Some(&later)).await;
    // A link that is made anew has its own.
    remove(&*store, "a", NOW).await;
    let again = make(&*store, new("a", "b"), NOW).await;
    assert_eq!(shown(&again), "b 10 1");
    check_get(&*store, "a", Some(&again)).await;
    let ended = NewLink {
        expires_at: ending("x", "", NOW + SECOND).expires_at,
        ..several("x", &list)
    };
    make(&*store, ended, NOW).await;
    let again = make(&*store, new("x", "b"), NOW + 2 * SECOND).await;
    check_get(&*store, "x", Some(&again)).await;
    assert_eq!(shown(&again), "b 10 1");
}

pub(super) async fn destinations_follow_changes(backend: &dyn Backend) {
    let store = backend.open().await;
    let list = [("b", 5, 7), ("a", 10, 9), ("c", 20, 0)];
    make(&*store, several("a", &list), NOW).await;
    let check = async |edit: Change, expected: &str| {
        let link = change(&*store, edit).await;
        assert_eq!(shown(&link), expected);
        check_get(&*store, "a", Some(&link)).await;
    };
    let title = Change {
        expires_at: Some(None),
        ..Change::default()
    };
    check(title, "b 5 7, a 10 9, c 20 0").await;
    // A new URL is that of the preferred destination.
    check(to("new"), "new 5 7, a 10 9, c 20 0").await;
    check(to("new"), "new 5 7, a 10 9, c 20 0").await;
    // One that another destination had is not there twice, and does not come back.
    check(to("a"), "a 5 7, c 20 0").await;
    check(to("d"), "d 5 7, c 20 0").await;
    let (target, destinations) = terms(&[("e", 1, 1), ("d", 2, 2)]);
    let list = Change {
        target: Some(target),
        destinations: Some(destinations),
        ..Change::default()
    };
    check(list, "e 1 1, d 2 2").await;
    let none = Change {
        destinations: Some(None),
        ..Change::default()
    };
    check(none, "e 10 1").await;
    check(to("f"), "f 10 1").await;
}

pub(super) async fn every_destination_is_searched(backend: &dyn Backend) {
    let store = backend.open().await;
    let odd = "other?q=\\odd|{}";
    make(&*store, several("a", &[("first", 1, 1), (odd, 2, 1)]), NOW).await;
    make(&*store, new("b", "first"), NOW).await;
    let find = async |text: &str| {
        let query = Query {
            text: SearchText::parse(text).ok(),
            state: Some(State::Current),
            ..Query::all(origin(ZONE))
        };
        find_all(&*store, &query, 5).await
    };
    // At once, and once an index has it.
    for _ in 0..2 {
        assert_eq!(find("OTHER?q").await, ["a"]);
        assert_eq!(find("q=\\odd|{}").await, ["a"]);
        assert_eq!(find("first").await, ["a", "b"]);
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    let none = Change {
        destinations: Some(None),
        ..Change::default()
    };
    change(&*store, none).await;
    assert_eq!(find("other").await, [""; 0]);
}
