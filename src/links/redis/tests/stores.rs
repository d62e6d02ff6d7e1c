//! Values of another store, and a store whose identity is not known.

use super::*;

#[tokio::test]
async fn values_of_another_store_are_ignored_whatever_their_version() {
    let fixture = Fixture::start();
    let (ours, theirs) = (fixture.node_of(1).await, fixture.node_of(2).await);
    let put_by_theirs = async |text: Written| {
        theirs.begin(&name()).await.finish(&text).await;
        assert!(!fixture.held(&name()).is_empty());
        assert_eq!(found(&ours).await, None, "{text:?}");
    };
    for text in [written(9), Written::Deleted(Version(9))] {
        // They prevent neither a read claim nor a change to a lower version.
        put_by_theirs(text.clone()).await;
        let claim = ours.claim_read(&name()).await.unwrap();
        ours.fill(&name(), claim, Some(&link(6)));
        filled(&ours).await;
        assert_eq!(found(&ours).await, Some(6));
        assert_eq!(found(&theirs).await, None);
        put_by_theirs(text.clone()).await;
        ours.begin(&name()).await.finish(&written(7)).await;
        assert_eq!(found(&ours).await, Some(7));
        put_by_theirs(text.clone()).await;
        ours.load(&[link(5)]).await.unwrap();
        assert_eq!(found(&ours).await, Some(5));
        // If the other store puts a value during a change, that is like an eviction.
        let change = ours.begin(&name()).await;
        put_by_theirs(text).await;
        change.finish(&written(8)).await;
        assert_ne!(found(&ours).await, Some(5));
        let _ = fixture.cli(&["FLUSHALL"]);
    }
    // Each node notices the other store.
    eventually(|| !ours.doubts().is_empty() && !theirs.doubts().is_empty()).await;
    let third = fixture.node_of(1).await;
    assert_eq!(found(&third).await, None);
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_counts_as_the_last_one_at_its_place() {
    let fixture = Fixture::start();
    let known = fixture.node_of(1).await;
    known.begin(&name()).await.finish(&written(7)).await;
    let away = |place| {
        let identity = Identity::Shared { id: None, place };
        Table::of(identity)
    };
    let elsewhere = fixture.node_with(away(2)).await;
    assert_eq!(get(&elsewhere, &name()).await, Err(Failure::Skipped));
    assert_eq!(elsewhere.doubts().len(), 1, "it is reported");
    let store = away(1);
    let node = fixture.node_with(store.clone()).await;
    assert_eq!(found(&node).await, Some(7));
    // The store turns out to be another one.
    store.becomes(Identity::Shared {
        id: Some(3),
        place: 1,
    });
    for _ in 0..500 {
        if found(&node).await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the node still uses values of another store");
}
