//! Lists and scans, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use tinyns::link::{Code, Link, LinkName};
use tinyns::store::{Deleted, NewLink, Page, Segment, Store};

use super::{Backend, NOW, ZONE, by, codes, make, name_in, new, origin, remove, url};

/// Follows a list to its end, and checks each page on the way.
pub(super) async fn list_all(store: &dyn Store, zone: &str, limit: usize) -> Vec<Link> {
    let mut links = Vec::new();
    let mut after: Option<LinkName> = None;
    loop {
        let page = store.list(&origin(zone), after.as_ref(), limit).await;
        let Page { links: some, next } = page.unwrap();
        assert!(some.len() <= limit, "{} links of {limit}", some.len());
        links.extend(some);
        match next {
            Some(next) => assert_ne!(after.replace(next), after, "the cursor stands still"),
            None => return links,
        }
    }
}

/// Follows one segment of a scan to its end.
pub(super) async fn scan_all(store: &dyn Store, segment: Segment, limit: usize) -> Vec<Link> {
    let mut links = Vec::new();
    let mut after: Option<LinkName> = None;
    loop {
        let page = store.scan(segment, after.as_ref(), limit).await.unwrap();
        assert!(page.links.len() <= limit);
        links.extend(page.links);
        match page.next {
            Some(next) => assert_ne!(after.replace(next), after, "the cursor stands still"),
            None => return links,
        }
    }
}

pub(super) async fn lists_page_without_gap_or_repetition(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(list_all(&*store, ZONE, 10).await, []);
    let mut made = BTreeSet::new();
    for i in 0..25 {
        let code = format!("c{:x}", i * 7919);
        make(&*store, new(&code, "1"), NOW).await;
        made.insert(code);
    }
    let whole = list_all(&*store, ZONE, 100).await;
    assert_eq!(codes(&whole).into_iter().collect::<BTreeSet<_>>(), made);
    assert_eq!(whole.len(), 25);
    for limit in [1, 2, 5, 24, 25, 26] {
        let paged = list_all(&*store, ZONE, limit).await;
        assert_eq!(paged, whole, "pages of {limit}");
    }
    // A cursor need not be the name of a link that is still there.
    remove(&*store, whole[3].name.code(), NOW).await;
    let page = store.list(&origin(ZONE), Some(&whole[3].name), 2).await;
    assert_eq!(page.unwrap().links, whole[4..6]);
}

pub(super) async fn lists_stay_right_while_links_come_and_go(backend: &dyn Backend) {
    let store = backend.open().await;
    for i in 0..20 {
        make(&*store, new(&format!("stays{i}"), "1"), NOW).await;
        make(&*store, new(&format!("goes{i}"), "1"), NOW).await;
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut after: Option<LinkName> = None;
    for step in 0.. {
        let page = store.list(&origin(ZONE), after.as_ref(), 3).await.unwrap();
        for code in codes(&page.links) {
            *seen.entry(code).or_default() += 1;
        }
        let Some(next) = page.next else { break };
        after = Some(next);
        if step < 20 {
            make(&*store, new(&format!("comes{step}"), "1"), NOW).await;
            remove(&*store, &format!("goes{step}"), NOW).await;
        }
    }
    for i in 0..20 {
        assert_eq!(seen.get(&format!("stays{i}")), Some(&1), "stays{i}");
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
}

pub(super) async fn a_limit_of_nothing_still_moves_on(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    make(&*store, new("b", "1"), NOW).await;
    let page = store.list(&origin(ZONE), None, 0).await.unwrap();
    assert_eq!(page.links.len(), 1);
    assert_eq!(page.next.as_ref(), Some(&page.links[0].name));
    let whole = Segment { index: 0, total: 1 };
    let page = store.scan(whole, None, 0).await.unwrap();
    assert_eq!(page.links.len(), 1);
    assert_eq!(page.next.as_ref(), Some(&page.links[0].name));
}

pub(super) async fn zones_do_not_mix(backend: &dyn Backend) {
    let store = backend.open().await;
    // One of them ends like another, and one begins like another.
    let zones = ["s.example.com", "a.s.example.com", "s.example.com.net"];
    let mut versions = Vec::new();
    for zone in zones {
        for code in ["a", "b", "c"] {
            let link = NewLink {
                name: name_in(code, zone),
                ..new(code, zone)
            };
            versions.push(make(&*store, link, NOW).await.version);
        }
    }
    for zone in zones {
        let links = list_all(&*store, zone, 2).await;
        assert_eq!(links.len(), 3, "{zone}");
        assert!(links.iter().all(|link| link.name.origin() == zone));
        assert!(links.iter().all(|link| link.target == url(zone)));
    }
    assert_eq!(list_all(&*store, "example.com", 10).await, []);
    let deleted = store
        .delete(&name_in("a", zones[1]), None, &by(), NOW)
        .await;
    assert!(matches!(deleted.unwrap(), Deleted::Deleted(_)));
    assert!(store.get(&name_in("a", zones[1])).await.unwrap().is_none());
    assert!(store.get(&name_in("a", zones[0])).await.unwrap().is_some());
}

pub(super) async fn segments_are_disjoint_and_complete(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut made = BTreeSet::new();
    for i in 0..60 {
        // Folded codes, as most are, beside a few that callers chose.
        let mut link = new("x", &i.to_string());
        let code = match i {
            0 => "0".to_owned(),
            1 => "z-last".to_owned(),
            2 => "zzzzzzzz".to_owned(),
            3 => "z".repeat(63),
            _ => Code::fold(&link.target, 0).to_string(),
        };
        link.name = name_in(&code, ["s.example.com", "t.example.org"][i % 2]);
        made.insert(make(&*store, link, NOW).await.name);
    }
    for total in 1..=8 {
        let parts = (0..total).map(|index| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { scan_all(&*store, Segment { index, total }, 3).await })
        });
        let mut met = BTreeSet::new();
        for part in join_all(parts).await {
            for link in part.unwrap() {
                assert!(met.insert(link.name.clone()), "{} twice", link.name);
            }
        }
        assert_eq!(met, made, "{total} segments");
    }
    for (index, total) in [(0, 0), (4, 4), (9, 4)] {
        let page = store.scan(Segment { index, total }, None, 10).await;
        let empty = Page {
            links: vec![],
            next: None,
        };
        assert_eq!(page.unwrap(), empty, "segment {index} of {total}");
    }
}
