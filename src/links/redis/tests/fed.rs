//! What the follower of the store's feed does to Redis.

use super::*;
use crate::store::feed::Position;

fn position(text: &str) -> Position {
    Position::new(text).unwrap()
}

/// Waits until a node has read of this version in the stream.
async fn heard(node: &RedisCache, version: u64) {
    eventually(|| node.changes.heard().has(&name(), Version(version))).await;
}

#[tokio::test]
async fn a_change_that_was_announced_leaves_redis_as_it_is() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    two.begin(&name()).await.finish(&written(5)).await;
    heard(&one, 5).await;
    for for_region in [false, true] {
        assert!(!one.note_fed(&name(), Some(Version(5)), for_region));
    }
    assert_eq!((found(&one).await, one.repairs_pending()), (Some(5), 0));
    // Version 4 was not announced. It may be of another region, and newer.
    assert!(one.note_fed(&name(), Some(Version(4)), true));
}

#[tokio::test]
async fn an_old_value_is_dropped_and_not_used_until_then() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    for (for_region, version, before) in [(false, Some(7), 6), (true, Some(9), 8), (true, None, 11)]
    {
        two.begin(&name()).await.finish(&written(before)).await;
        heard(&one, before).await;
        let lead = {
            let since = Instant::now();
            match two.memory.look(&name(), since) {
                crate::links::memory::Look::Lead(ticket, _) => ticket.land(Ok(None), since),
                look => panic!("{look:?}"),
            }
            two.memory.stamps().of(&name())
        };
        assert!(one.note_fed(&name(), version.map(Version), for_region));
        assert!(get(&one, &name()).await.is_err(), "not trusted");
        eventually(|| fixture.held(&name()).is_empty()).await;
        eventually(|| one.repairs_pending() == 0).await;
        assert!(one.has_repaired(&name(), for_region));
        assert_eq!(found(&one).await, None);
        eventually(|| !two.memory.stamps().is_current(lead)).await;
    }
}

#[tokio::test]
async fn the_announcement_of_a_server_nearby_makes_the_repair() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    let change = two.begin(&name()).await;
    // The feed was faster.
    assert!(one.note_fed(&name(), Some(Version(5)), false));
    change.finish(&written(5)).await;
    eventually(|| one.repairs_pending() == 0).await;
    assert_eq!(found(&one).await, Some(5));
}

#[tokio::test]
async fn values_from_before_the_floor_are_ignored_on_all_servers() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    one.begin(&name()).await.finish(&written(5)).await;
    assert_eq!((found(&one).await, found(&two).await), (Some(5), Some(5)));
    assert_eq!(one.fed_until().await.unwrap(), None);
    one.ignore_older();
    assert_eq!((found(&one).await, found(&two).await), (None, Some(5)));
    one.tell_floor(true).await.unwrap();
    eventually(|| two.client.floor() > 0).await;
    assert_eq!(found(&two).await, None);
    one.keep_fed(&position("7")).await.unwrap();
    // A server that starts later, and a server of another store.
    let (three, other) = (fixture.node().await, fixture.node_of(2).await);
    assert_eq!(found(&three).await, Some(5));
    assert_eq!(three.fed_until().await.unwrap(), Some(position("7")));
    assert_eq!(found(&three).await, None);
    assert_eq!(other.fed_until().await.unwrap(), None);
    assert_eq!(other.client.floor(), 0);
    // What is put later is used.
    fixture.clock.set(UnixTime(NOW.0 + 2));
    one.begin(&name()).await.finish(&written(6)).await;
    for node in [&one, &two, &three] {
        assert_eq!(found(node).await, Some(6));
    }
}

#[tokio::test]
async fn one_server_reads_the_feed_and_the_next_one_takes_over() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    let lease = one.lease_feed().await.unwrap().unwrap();
    assert!(two.lease_feed().await.unwrap().is_none());
    assert!(one.renew_feed(&lease).await.unwrap());
    assert_eq!(fixture.cli(&["DEL", "t:feed-reader"]), "1");
    let next = two.lease_feed().await.unwrap().unwrap();
    assert!(!one.renew_feed(&lease).await.unwrap());
    one.end_feed(lease).await;
    assert!(two.renew_feed(&next).await.unwrap(), "only its own lease");
    two.end_feed(next).await;
    assert!(one.lease_feed().await.unwrap().is_some());
}

#[tokio::test]
async fn servers_hear_how_far_the_reader_is() {
    let fixture = Fixture::start();
    let one = fixture.node().await;
    let applied = Arc::new(Applied::new(Instant::now(), Duration::from_secs(3)));
    let two = fixture.node_that_notes(Some(applied.clone())).await;
    eventually(|| applied.position().is_some()).await;
    assert!(applied.lag(Instant::now()).is_none(), "no beat yet");
    // The first one may come with the first read, which says nothing about its age.
    let mut began = Instant::now();
    while applied.lag(Instant::now()).is_none() {
        began = Instant::now();
        one.beat(began).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let looked = applied.looks().looked().unwrap();
    assert!(looked <= began, "later than the look of the reader");
    let generation = applied.looks().generation();
    one.ignore_older();
    one.tell_floor(true).await.unwrap();
    eventually(|| applied.looks().generation() > generation).await;
    drop(two);
}
