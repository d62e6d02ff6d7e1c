//! Lists with filters and orders.

use std::collections::BTreeMap;

use tinyns::base::clock::UnixTime;
use tinyns::link::{AboutChange, Link, Tag, TargetUrl, Title};
use tinyns::store::{Change, NewLink, Order, Query, SearchText, State, Store};

use super::{Backend, NOW, SECOND, ZONE, about, make, name, new, origin, remove, withheld};

/// The codes on all pages.
pub(super) async fn find_all(store: &dyn Store, query: &Query, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.find(query, after.as_ref(), limit).await.unwrap();
        assert!(page.links.len() <= limit);
        found.extend(page.links.iter().map(|link| link.name.code().to_owned()));
        match page.next {
            Some(next) => assert_ne!(
                after.replace(next.clone()),
                Some(next),
                "the cursor stands still"
            ),
            None => return found,
        }
    }
}

pub(super) async fn filters_apply_together_and_pages_are_stable(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut links: Vec<Link> = Vec::new();
    for n in 0..40_u64 {
        let host = ["one.example", "two.example:8443"][(n % 2) as usize];
        let new = NewLink {
            target: TargetUrl::parse(&format!("https://{host}/Path{n}?100%25_x")).unwrap(),
            created_by: ["ann", "bob"][(n % 4 / 2) as usize].into(),
            expires_at: (n % 5 == 0).then_some(UnixTime(NOW / SECOND + 100)),
            about: about(
                &format!("Größe {}", n % 7),
                &["all", ["a", "b"][(n % 2) as usize]],
                "",
            ),
            withheld: (n % 6 == 1)
                .then(|| withheld("abuse", "Phishing", None))
                .flatten(),
            ..new(&format!("c{}", n * 17 % 40), "")
        };
        links.push(make(&*store, new, NOW + n / 3 * SECOND).await);
    }
    let orders: &[Order] = match store.sorts() {
        true => &[Order::Code, Order::Newest, Order::Oldest],
        false => &[Order::Code],
    };
    for (text, tag, host, creator) in [
        ("", "", "", ""),
        ("GRÖSSE 3", "", "", ""),
        ("größe 3", "", "", ""),
        ("PATH1", "a", "", ""),
        ("%25_", "", "two.example", "ann"),
        ("1", "B", "two.example", ""),
        ("\" OR \"", "", "", ""),
        ("", "none", "", ""),
        ("", "all", "example", ""),
        ("", "", "", "bob"),
    ] {
        for state in [
            None,
            Some(State::Current),
            Some(State::Live),
            Some(State::Withheld),
            Some(State::Ended),
        ] {
            for &order in orders {
                let query = Query {
                    text: SearchText::parse(text).ok(),
                    tag: Tag::parse(tag).ok(),
                    host: TargetUrl::host_of(host).map(Into::into),
                    created_by: (!creator.is_empty()).then(|| creator.into()),
                    state,
                    order,
                    now: UnixTime(NOW / SECOND + 100),
                    ..Query::all(origin(ZONE))
                };
                let mut expected: Vec<_> = links.iter().filter(|l| query.matches(l)).collect();
                expected.sort_by_key(|l| match order {
                    Order::Code => (0, l.name.code()),
                    Order::Newest | Order::Oldest => (l.created_at.0, l.name.code()),
                });
                if order == Order::Newest {
                    expected.reverse();
                }
                let expected: Vec<_> = expected.iter().map(|l| l.name.code()).collect();
                let mut found = find_all(&*store, &query, 7).await;
                if !store.sorts() {
                    found.sort();
                }
                assert_eq!(found, expected, "{query:?}");
            }
        }
    }
    // Only the comparison itself finds what the loop above expects.
    let query = Query {
        text: SearchText::parse("größe 3").ok(),
        ..Query::all(origin(ZONE))
    };
    assert_eq!(find_all(&*store, &query, 7).await.len(), 6);
}

pub(super) async fn unchanged_links_are_found_once_while_others_change(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..60_u64 {
        make(
            &*store,
            new(&format!("c{n:02}"), "1"),
            NOW + n % 10 * SECOND,
        )
        .await;
    }
    let orders: &[Order] = match store.sorts() {
        true => &[Order::Code, Order::Newest, Order::Oldest],
        false => &[Order::Code],
    };
    for (round, &order) in orders.iter().enumerate() {
        let query = Query {
            text: SearchText::parse("example.net/").ok(),
            order,
            ..Query::all(origin(ZONE))
        };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut after = None;
        let mut pages = 0;
        loop {
            let page = store.find(&query, after.as_ref(), 5).await.unwrap();
            for link in &page.links {
                *seen.entry(link.name.code().to_owned()).or_default() += 1;
            }
            // Links with an odd number are changed all the time.
            let code = format!("c{:02}", (pages * 7 + round * 2) % 30 * 2 + 1);
            let change = Change {
                about: AboutChange {
                    title: Some(Title::parse(&format!("{pages}")).ok()),
                    ..AboutChange::default()
                },
                ..Change::default()
            };
            let now = NOW + 100 * SECOND;
            store
                .change(&name(&code), None, change, &"me".into(), now)
                .await
                .unwrap();
            pages += 1;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert!(pages >= 12, "{order:?}: {pages} pages");
        let more: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        assert!(more.is_empty(), "{order:?}: {more:?}");
        let unchanged = (0..60).step_by(2).map(|n| format!("c{n:02}"));
        let missing: Vec<_> = unchanged.filter(|code| !seen.contains_key(code)).collect();
        assert!(missing.is_empty(), "{order:?}: {missing:?}");
    }
    remove(&*store, "c00", NOW + 200 * SECOND).await;
    let all = Query::all(origin(ZONE));
    assert_eq!(find_all(&*store, &all, 1_000).await.len(), 59);
}
