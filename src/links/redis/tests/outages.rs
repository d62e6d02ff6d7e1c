//! A Redis server that is away, comes back with old values, or refuses writes.

use super::*;

#[tokio::test]
async fn after_a_failed_call_redis_is_not_trusted_until_it_is_repaired() {
    let mut fixture = Fixture::start();
    let node = fixture.node().await;
    node.begin(&name()).await.finish(&written(1)).await;
    let saved = fixture.cli(&["GET", &format!("t:link:{}", name())]);
    fixture.server.stop();
    node.begin(&name()).await.finish(&written(2)).await;
    assert_eq!(node.repairs_pending(), 1);
    assert!(get(&node, &name()).await.is_err());
    // The server comes back with the old value.
    fixture.server.start_again();
    for _ in 0..500 {
        if fixture.cli(&["SET", &format!("t:link:{}", name()), &saved]) == "OK" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for _ in 0..500 {
        if node.repairs_pending() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(node.repairs_pending(), 0);
    let held = fixture.held(&name());
    assert!(held.is_empty() || held == saved, "{held}");
    assert_ne!(found(&node).await, Some(1));
}

#[tokio::test]
async fn values_from_before_the_start_of_the_redis_server_are_ignored() {
    let mut fixture = Fixture::start();
    let node = fixture.node().await;
    let key = format!("t:link:{}", name());
    node.begin(&name()).await.finish(&written(7)).await;
    let saved = fixture.held(&name());
    fixture.server.stop();
    eventually(|| node.down().0 == 1).await;
    fixture.clock.set(UnixTime(NOW.0 + 1_000));
    fixture.server.start_again();
    eventually(|| fixture.cli(&["SET", &key, &saved]) == "OK").await;
    eventually(|| node.down().0 == 0).await;
    assert_eq!(found(&node).await, None);
    // The old values, also an absence, prevent nothing.
    let absent = "{\"version\":7,\"absent\":true,\"at\":1800000000,\"of\":\"0000000000000001\"}";
    for old in [saved.as_str(), absent] {
        let _ = fixture.cli(&["SET", &key, old]);
        node.load(&[link(6)]).await.unwrap();
        assert_eq!(found(&node).await, Some(6), "{old}");
        let _ = fixture.cli(&["SET", &key, old]);
        let claim = node.claim_read(&name()).await.unwrap();
        node.fill(&name(), claim, Some(&link(6)));
        filled(&node).await;
        assert_eq!(found(&node).await, Some(6), "{old}");
    }
}

#[tokio::test]
async fn a_server_that_answers_but_refuses_writes_counts_as_down() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    node.begin(&name()).await.finish(&written(1)).await;
    assert_eq!(found(&node).await, Some(1));
    let _ = fixture.cli(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    // Another node may know the new state only from the store, so the old value must not be read here.
    eventually(|| node.down().0 == 1).await;
    node.begin(&name()).await.finish(&written(2)).await;
    assert!(get(&node, &name()).await.is_err());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(node.down().0, 1, "an answer is not enough");
    let _ = fixture.cli(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    eventually(|| node.down().0 == 0 && node.repairs_pending() == 0).await;
    assert_eq!(found(&node).await, None);
}
