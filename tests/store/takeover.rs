//! Links and entries that are taken over from another store, the check of a store, and its epochs.

use tinyns::base::clock::UnixMillis;
use tinyns::link::{Link, LinkName, Version};
use tinyns::store::audit::{Action, Actor, AuditQuery, Entry, EntryId, Event, Facts, Object};
use tinyns::store::{Adopted, Created, Examined, Store};

use super::{
    Backend, NOW, SECOND, about, at_once, check_get, ending, make, name, new, remove, withheld,
};

/// A link with everything that a link can have, and one with nothing.
async fn links(store: &dyn Store) -> [Link; 2] {
    let mut whole = ending("whole", "1", NOW + 600 * SECOND);
    whole.ttl = tinyns::link::Ttl::from_secs(77);
    whole.about = about("A title", &["a", "b"], "A note\nof two lines");
    whole.withheld = withheld("legal", "Order 12", Some("https://court.example/12"));
    [
        make(store, whole, NOW).await,
        make(store, new("bare", "2"), NOW).await,
    ]
}

/// The valid links by name, and the faults.
async fn examined(store: &dyn Store, limit: usize) -> (Vec<Link>, Vec<String>) {
    let (mut all, mut found): (Vec<Link>, _) = (Vec::new(), Vec::new());
    let mut after: Option<LinkName> = None;
    loop {
        let page = store.examine(after.as_ref(), limit).await.unwrap();
        let Examined {
            links,
            faults,
            next,
        } = page;
        assert!(links.len() <= limit);
        all.extend(links);
        found.extend(faults);
        match next {
            Some(next) => assert_ne!(after.replace(next), after, "the cursor stands still"),
            None => break,
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    (all, found)
}

pub(super) async fn a_link_is_taken_over_as_it_was(backend: &dyn Backend) {
    let store = backend.open().await;
    let [whole, bare] = links(&*store).await;
    let foreign = |link: &Link, code: &str| Link {
        name: name(code),
        created_at: tinyns::base::clock::UnixTime(7),
        created_by: "someone else".into(),
        ..link.clone()
    };
    let taken = [foreign(&whole, "taken"), foreign(&bare, "also")];
    for link in &taken {
        assert_eq!(store.adopt(link).await.unwrap(), Adopted::Written);
        assert_eq!(store.adopt(link).await.unwrap(), Adopted::Same);
    }
    store.close().await;
    let store = backend.open().await;
    for link in &taken {
        check_get(&*store, link.name.code(), Some(link)).await;
        assert_eq!(store.adopt(link).await.unwrap(), Adopted::Same);
    }
    let (all, faults) = examined(&*store, 3).await;
    let mut expected = vec![whole, bare];
    expected.extend(taken);
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!((all, faults), (expected, Vec::new()));
}

pub(super) async fn a_later_state_is_not_replaced(backend: &dyn Backend) {
    let store = backend.open().await;
    let [whole, _] = links(&*store).await;
    let other = |version| Link {
        target: super::url("other"),
        version: Version(version),
        ..whole.clone()
    };
    let is = whole.version.0;
    for version in [0, is - 1, is] {
        let adopted = store.adopt(&other(version)).await.unwrap();
        assert_eq!(adopted, Adopted::Newer, "{version}");
        check_get(&*store, "whole", Some(&whole)).await;
    }
    assert_eq!(store.adopt(&other(is + 1)).await.unwrap(), Adopted::Written);
    check_get(&*store, "whole", Some(&other(is + 1))).await;

    // Nor is a deletion.
    let gone = remove(&*store, "bare", NOW + SECOND).await;
    let again = |version| Link {
        name: name("bare"),
        version: Version(version),
        ..whole.clone()
    };
    for version in [is, gone.0] {
        let adopted = store.adopt(&again(version)).await.unwrap();
        assert_eq!(adopted, Adopted::Newer, "{version}");
        check_get(&*store, "bare", None).await;
    }
    let later = again(gone.0 + 1);
    assert_eq!(store.adopt(&later).await.unwrap(), Adopted::Written);
    check_get(&*store, "bare", Some(&later)).await;
}

/// More links than go into one call of any store: each with the outcome that it has alone.
pub(super) async fn many_links_are_taken_over_together(backend: &dyn Backend) {
    let store = backend.open().await;
    let [whole, bare] = links(&*store).await;
    let gone = remove(&*store, "bare", NOW + SECOND).await;
    let foreign = |code: &str, version: u64| Link {
        name: name(code),
        version: Version(version),
        ..whole.clone()
    };
    let above = gone.0 + 1;
    let mut all: Vec<Link> = (0..1_100)
        .map(|n| foreign(&format!("m{n}"), above + n))
        .collect();
    let expected = |all: &[Link], first: Adopted| -> Vec<Adopted> {
        let of = |link: &Link| match link.name.code() {
            "whole" => Adopted::Same,
            "bare" => Adopted::Newer,
            _ => first,
        };
        all.iter().map(of).collect()
    };
    all.insert(300, whole.clone());
    all.insert(700, bare);
    for first in [Adopted::Written, Adopted::Same] {
        let adopted = store.adopt_many(&all).await;
        let adopted: Vec<Adopted> = adopted.into_iter().map(Result::unwrap).collect();
        assert_eq!(adopted, expected(&all, first));
    }
    for link in [&all[0], &all[500], &all[1_101]] {
        check_get(&*store, link.name.code(), Some(link)).await;
    }
    check_get(&*store, "bare", None).await;

    // Older and later states, and one name twice.
    let mixed = [
        foreign("m1", above),
        foreign("m2", above + 5_000),
        foreign("twice", above),
        foreign("m3", 0),
        foreign("twice", above + 1),
    ];
    let adopted = store.adopt_many(&mixed).await;
    let adopted: Vec<Adopted> = adopted.into_iter().map(Result::unwrap).collect();
    let expected = [
        Adopted::Newer,
        Adopted::Written,
        Adopted::Written,
        Adopted::Newer,
        Adopted::Written,
    ];
    assert_eq!(adopted, expected);
    check_get(&*store, "m1", Some(&foreign("m1", above + 1))).await;
    check_get(&*store, "m2", Some(&mixed[1])).await;
    check_get(&*store, "twice", Some(&mixed[4])).await;
    assert!(store.adopt_many(&[]).await.is_empty());
}

pub(super) async fn versions_grow_after_a_takeover(backend: &dyn Backend) {
    let store = backend.open().await;
    // From a server whose clock is ahead, and one that has ended.
    let mut link = make(&*store, ending("a", "1", NOW + SECOND), NOW).await;
    link.name = name("b");
    link.version = Version(NOW + 900 * SECOND);
    assert_eq!(store.adopt(&link).await.unwrap(), Adopted::Written);
    let again = make(&*store, new("b", "2"), NOW + 2 * SECOND).await;
    assert!(again.version > link.version);
}

pub(super) async fn of_concurrent_takeovers_the_latest_stays(backend: &dyn Backend) {
    let store = backend.open().await;
    let [whole, _] = links(&*store).await;
    let state = |number: usize| Link {
        name: name("c"),
        version: Version(number as u64 + 1),
        ..whole.clone()
    };
    let all = at_once(&store, |store, number| {
        let link = state(number);
        async move { store.adopt(&link).await }
    });
    let all = all.await;
    assert!(all.contains(&Adopted::Written));
    check_get(&*store, "c", Some(&state(all.len() - 1))).await;
}

pub(super) async fn an_epoch_makes_another_identity(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let first = store.facts().await.unwrap();
    assert_eq!(first.epoch, 1, "{first:?}");
    let number = store.identity().number();
    assert!(number.is_some());
    assert_eq!(store.begin_epoch().await.unwrap(), 2);
    let second = store.facts().await.unwrap();
    assert_eq!((&second.id, second.epoch), (&first.id, 2));
    let other = store.identity().number();
    assert_ne!(other, number);
    store.close().await;

    let store = backend.open().await;
    assert_eq!(store.facts().await.unwrap(), second);
    assert_eq!(store.identity().number(), other);
    assert!(matches!(
        store.create(new("a", "1"), NOW).await.unwrap(),
        Created::Same(_)
    ));
    assert_eq!(store.check_integrity().await.unwrap(), Vec::<String>::new());
}

/// Entries of another store, two of them of the same millisecond.
fn entries() -> Vec<Entry> {
    let event = |at: u64, action, object| Event {
        at: UnixMillis(NOW / 1_000 + at),
        actor: Actor {
            address: Some("2001:db8::7".parse().unwrap()),
            request_id: Some("id-1".into()),
            ..Actor::from("ann")
        },
        action,
        object,
        before: Facts::read("{\"url\":\"https://x.example/\"}"),
        after: None,
    };
    let link = |code: &str| Object::Link(name(code));
    let events = [
        event(1, Action::LinkDeleted, link("a")),
        event(2, Action::LinkDeleted, link("b")),
        event(2, Action::LinkDeleted, link("c")),
        event(3, Action::TokenRevoked, Object::Token("bob".into())),
        event(4, Action::SessionsEnded, Object::Sessions),
    ];
    let numbered = events.into_iter().zip(7..);
    let entry = |(event, number): (Event, u64)| Entry {
        id: EntryId {
            at: event.at,
            number,
        },
        event,
    };
    numbered.map(entry).collect()
}

pub(super) async fn entries_are_taken_over_once(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("own", "1"), NOW + 9 * SECOND).await;
    for expected in [Adopted::Written, Adopted::Same] {
        for entry in entries() {
            assert_eq!(store.adopt_entry(&entry).await.unwrap(), expected);
        }
    }
    let query = AuditQuery {
        until: Some(UnixMillis(NOW / 1_000 + 9)),
        limit: 100,
        ..AuditQuery::default()
    };
    let found = store.audit(query).await.unwrap().entries;
    let found: Vec<Event> = found.into_iter().rev().map(|entry| entry.event).collect();
    let expected: Vec<Event> = entries().into_iter().map(|entry| entry.event).collect();
    assert_eq!(found, expected);
}
