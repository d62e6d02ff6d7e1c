//! Links that are withheld, and who may change that.

use tinyns::store::audit::Actor;
use tinyns::store::{Change, Changed, Created, Deleted, Store};

use super::{Backend, NOW, ZONE, by, check_get, list_all, make, name, new, url, withheld};

/// Someone who may change links that are withheld.
pub(super) fn admin() -> Actor {
    Actor {
        may_change_withheld: true,
        ..by()
    }
}

pub(super) async fn a_withheld_link_is_kept_and_guarded(backend: &dyn Backend) {
    let store = backend.open().await;
    let first = make(&*store, new("a", "1"), NOW).await;
    let hold = |withheld| Change {
        withheld: Some(withheld),
        ..Change::default()
    };
    let change = async |store: &dyn Store, by: &Actor, change: Change| {
        store
            .change(&name("a"), None, change, by, NOW + 9)
            .await
            .unwrap()
    };
    let why = withheld("legal", "Order 12", Some("https://court.example/12"));
    let Changed::Changed(link) = change(&*store, &admin(), hold(why.clone())).await else {
        panic!("not changed");
    };
    assert_eq!(link.withheld, why);
    assert!(link.version > first.version);
    store.close().await;

    let store = backend.open().await;
    check_get(&*store, "a", Some(&link)).await;
    assert_eq!(
        list_all(&*store, ZONE, 9).await,
        std::slice::from_ref(&link)
    );
    // Others can neither change, delete nor replace it.
    let other = Change {
        target: Some(url("2")),
        ..Change::default()
    };
    for refused in [other.clone(), hold(None), Change::default()] {
        let found = change(&*store, &by(), refused).await;
        assert_eq!(found, Changed::Withheld(link.clone()));
    }
    let expected = Some(link.version);
    for version in [None, expected] {
        let found = store.delete(&name("a"), version, &by(), NOW + 10).await;
        assert_eq!(found.unwrap(), Deleted::Withheld(link.clone()));
        let found = store
            .change(&name("a"), version, other.clone(), &by(), NOW + 10)
            .await;
        assert_eq!(found.unwrap(), Changed::Withheld(link.clone()));
    }
    let wrong = Some(first.version);
    let found = store.delete(&name("a"), wrong, &by(), NOW + 10).await;
    assert_eq!(found.unwrap(), Deleted::Conflict(link.clone()));
    let same = store.create(new("a", "1"), NOW + 10).await.unwrap();
    assert_eq!(same, Created::Same(link.clone()));
    let taken = store.create(new("a", "2"), NOW + 10).await.unwrap();
    assert_eq!(taken, Created::Taken(link.clone()));
    check_get(&*store, "a", Some(&link)).await;

    // An admin may change it while it is withheld, and give it back.
    let Changed::Changed(moved) = change(&*store, &admin(), other.clone()).await else {
        panic!("not changed");
    };
    assert_eq!((&moved.withheld, &moved.target), (&why, &url("2")));
    let Changed::Changed(released) = change(&*store, &admin(), hold(None)).await else {
        panic!("not changed");
    };
    assert_eq!(released.withheld, None);
    check_get(&*store, "a", Some(&released)).await;
    let Changed::Changed(_) = change(&*store, &by(), other).await else {
        panic!("not changed");
    };
    // Once it is deleted, a new link of its name is a link like any other.
    change(&*store, &admin(), hold(withheld("abuse", "Phishing", None))).await;
    let gone = store.delete(&name("a"), None, &admin(), NOW + 11).await;
    assert!(matches!(gone.unwrap(), Deleted::Deleted(_)));
    assert_eq!(make(&*store, new("a", "1"), NOW + 12).await.withheld, None);
}
