//! The calls of the warm load.

use super::*;

#[tokio::test]
async fn a_load_replaces_only_nothing_and_older_values() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    // The value after a load.
    let load = async |version| {
        node.load(&[link(version)]).await.unwrap();
        found(&node).await
    };
    assert_eq!(load(5).await, Some(5));
    assert_eq!(load(4).await, Some(5));
    assert_eq!(load(6).await, Some(6));
    node.begin(&name())
        .await
        .finish(&Written::Deleted(Version(7)))
        .await;
    assert_eq!(load(6).await, Some(0), "the tombstone stays");
    let change = node.begin(&name()).await;
    assert_eq!(load(8).await, None, "a change is under way");
    change.finish(&written(9)).await;
    assert_eq!(found(&node).await, Some(9));
}

#[tokio::test]
async fn one_node_loads_at_a_time_and_the_next_one_continues() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    let lease = one.lease_load().await.unwrap().unwrap();
    assert!(two.lease_load().await.unwrap().is_none());
    assert!(one.renew_load(&lease).await.unwrap());
    let at = Cursor::After(name());
    let lost = one.note_load(1, &at).await;
    assert_eq!(
        lost,
        Err(Failure::Failed),
        "nothing was begun, or it has gone"
    );
    one.begin_load(3).await.unwrap();
    one.note_load(1, &at).await.unwrap();
    one.note_load(2, &Cursor::End).await.unwrap();
    // The node dies, and its lease expires.
    let _ = fixture.cli(&["DEL", "t:warm-load"]);
    let taken = two.lease_load().await.unwrap().unwrap();
    assert!(!one.renew_load(&lease).await.unwrap());
    assert_eq!(one.end_load(lease, true).await, Err(Failure::Failed));
    assert_eq!(
        two.loaded_at().await,
        Ok(None),
        "not by whom has lost the lease"
    );
    assert!(two.renew_load(&taken).await.unwrap(), "not another's");
    let cursors = two.begin_load(3).await.unwrap();
    assert_eq!(cursors, [Cursor::Start, at, Cursor::End]);
    // A load with another number of parts begins at the start.
    let cursors = two.begin_load(2).await.unwrap();
    assert_eq!(cursors, [Cursor::Start, Cursor::Start]);
    assert_eq!(two.loaded_at().await, Ok(None));
    two.end_load(taken, true).await.unwrap();
    assert_eq!(one.loaded_at().await, Ok(Some(NOW)));
    let cursors = two.begin_load(1).await.unwrap();
    assert_eq!(cursors, [Cursor::Start]);
    assert!(one.lease_load().await.unwrap().is_some());
}
