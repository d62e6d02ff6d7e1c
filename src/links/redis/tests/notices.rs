//! Notices of changes that cannot be announced. No Redis server is needed: nothing listens at the address.

use super::table::Mood;
use super::*;

/// A node of this store that cannot reach Redis, in the midst of the pause after its first round.
async fn cut_off(table: &Arc<Table>) -> (Arc<RedisCache>, CancellationToken) {
    let config = config(&format!("redis://127.0.0.1:{}", free_port()));
    let memory = Arc::new(Memory::new(MemoryLimits::default()));
    let (clock, metrics) = (Clock::manual(NOW), Arc::new(Metrics::new()));
    let store: Arc<dyn Store> = table.clone();
    let absent_for = Duration::from_secs(5);
    let own = (Arc::new(Own::new()), None, Arc::new(Exchange::new()));
    let cache = RedisCache::new(&config, memory, &store, absent_for, own, clock, metrics).unwrap();
    let (cache, shutdown) = (Arc::new(cache), CancellationToken::new());
    cache.start(&TaskTracker::new(), &shutdown, || {});
    tokio::time::sleep(Duration::from_millis(100)).await;
    (cache, shutdown)
}

/// Changes a name as `Links` does; returns how long it waited for the notice.
async fn change(node: &Arc<RedisCache>, name: &LinkName) -> Duration {
    node.begin(name).await.finish(&written(1)).await;
    assert!(!node.is_visible_elsewhere(name));
    let began = Instant::now();
    let until = began + Duration::from_secs(60);
    node.await_notice(name, until).await;
    began.elapsed()
}

fn other(n: usize) -> LinkName {
    LinkName::parse(&format!("a{n}.s.example.com")).unwrap()
}

#[tokio::test]
async fn a_change_is_in_the_notice_before_it_is_acknowledged() {
    let table = Table::with_notices(Mood::Works);
    let (node, shutdown) = cut_off(&table).await;
    for n in 0..3 {
        let took = change(&node, &other(n)).await;
        let named = table.named();
        assert_eq!(named.first(), Some(&(other(n), Version(1))), "the newest");
        assert_eq!(named.len(), n + 1);
        assert!(took < Duration::from_millis(500), "{took:?}");
    }
    shutdown.cancel();
}

#[tokio::test]
async fn a_table_that_hangs_or_fails_delays_a_change_but_does_not_fail_it() {
    for mood in [Mood::Hangs, Mood::Fails] {
        let table = Table::with_notices(mood);
        let (node, shutdown) = cut_off(&table).await;
        let took = change(&node, &name()).await;
        assert!(took < Duration::from_secs(3), "{mood:?}: {took:?}");
        assert_eq!(table.posts(), 1, "{mood:?}: it was tried at once");
        // The deadline of the request comes first.
        let began = Instant::now();
        node.await_notice(&name(), began + Duration::from_millis(20))
            .await;
        assert!(began.elapsed() < Duration::from_secs(1));
        shutdown.cancel();
    }
}

#[tokio::test]
async fn many_unannounced_changes_do_not_wait_for_the_notice() {
    let table = Table::with_notices(Mood::Works);
    let (node, shutdown) = cut_off(&table).await;
    for n in 0..1_000 {
        node.begin(&other(n)).await.finish(&written(1)).await;
    }
    let before = table.posts();
    for n in 0..100 {
        change(&node, &other(n)).await;
    }
    assert!(
        table.posts() <= before + 2,
        "only the rounds of each second"
    );
    for _ in 0..500 {
        if table.named().len() == 1_000 {
            return shutdown.cancel();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the notice names {} changes", table.named().len());
}
