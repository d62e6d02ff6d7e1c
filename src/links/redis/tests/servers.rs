//! Servers that announce themselves in Redis, and waiting for them.

use tokio::time::timeout;

use super::table::Mood;
use super::*;
use crate::links::servers::{NegativeTimes, Patience, ServerName, Servers, Subject};
use crate::store::feed::Position;
use crate::store::servers::{Announcement, LEASE, Label, MAX_SERVERS};

/// Long enough for anything that does not wait for another server.
const SOON: Duration = Duration::from_secs(20);
/// Long enough to see that something waits.
const A_WHILE: Duration = Duration::from_millis(300);

/// A server that runs, and its Redis.
async fn member(fixture: &Fixture) -> (Arc<RedisCache>, Arc<Servers>) {
    let (cache, own) = fixture
        .node_and_own(Table::with_notices(Mood::Works), None)
        .await;
    let store: Arc<dyn Store> = Table::with_notices(Mood::Works);
    let called = ServerName::default();
    let servers = Servers::new(called, (&store, Some(&cache)), own, None, NOW);
    let servers = Arc::new(servers);
    let stop = fixture.shutdown.clone();
    let run = servers.clone().run(|| Duration::from_secs(60), stop);
    fixture.tasks.spawn(run);
    (cache, servers)
}

/// Another server, which has applied everything up to this entry of the stream.
fn other(id: &str, applied: &str) -> Announcement {
    Announcement {
        id: Label::closest(id),
        name: Label::closest(&format!("name of {id}")),
        region: Label::closest("default"),
        version: Label::closest("0"),
        started: NOW,
        applied: Position::new(applied),
        filter_denies: true,
        denied: "".into(),
    }
}

const NOTHING: &str = "0-0";
const EVERYTHING: &str = "99999999999999-0";

fn names(servers: &Servers) -> Vec<String> {
    let (list, _) = servers.list();
    list.iter()
        .map(|s| s.announcement.name.to_string())
        .collect()
}

async fn ids(cache: &RedisCache) -> Vec<String> {
    let servers = cache.servers().await.unwrap().into_iter();
    let mut ids: Vec<_> = servers.map(|s| s.announcement.id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn an_announcement_counts_until_its_lease_ends_or_it_is_withdrawn() {
    let fixture = Fixture::start();
    let cache = fixture.node().await;
    let (one, two) = (other("1", NOTHING), other("2", EVERYTHING));
    cache.announce_server(&one, true).await.unwrap();
    cache.announce_server(&two, true).await.unwrap();
    assert_eq!(ids(&cache).await, ["1", "2"]);
    let listed = cache.servers().await.unwrap();
    assert!(listed.iter().all(|server| server.left <= LEASE));
    assert!(listed.iter().any(|server| server.announcement == two));
    cache.withdraw_server(&one).await.unwrap();
    assert_eq!(ids(&cache).await, ["2"]);
    let brief = Duration::from_millis(1);
    cache.put_server(&two, brief, String::new()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(ids(&cache).await.is_empty());
    assert_eq!(fixture.cli(&["KEYS", "t:servers:*"]), "", "nothing is left");
    // A server of another store.
    let stranger = fixture.node_of(2).await;
    cache.announce_server(&one, true).await.unwrap();
    assert!(ids(&stranger).await.is_empty());
}

#[tokio::test]
async fn the_number_of_servers_is_bounded() {
    let fixture = Fixture::start();
    let cache = fixture.node().await;
    for n in 0..MAX_SERVERS {
        let server = other(&n.to_string(), NOTHING);
        cache.announce_server(&server, true).await.unwrap();
    }
    let more = other("more", NOTHING);
    assert_eq!(cache.announce_server(&more, true).await, Err(Failure::Full));
    let known = other("7", EVERYTHING);
    assert_eq!(cache.announce_server(&known, false).await, Ok(()));
    assert_eq!(ids(&cache).await.len(), MAX_SERVERS);
}

#[tokio::test]
async fn a_full_redis_takes_announcements() {
    let fixture = Fixture::start();
    let cache = fixture.node().await;
    assert_eq!(fixture.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let set = fixture.cli(&["SET", "t:x", "y"]);
    assert!(set.contains("OOM"), "{set}");
    cache
        .announce_server(&other("1", NOTHING), true)
        .await
        .unwrap();
    assert_eq!(ids(&cache).await, ["1"]);
}

#[tokio::test]
async fn who_makes_a_link_waits_for_the_filters_of_its_region() {
    let fixture = Fixture::start();
    let (cache, servers) = member(&fixture).await;
    // So that nothing but the servers ends a wait.
    let committed = || Instant::now() + Duration::from_secs(600);
    let ends = async |server: &Announcement, patience| {
        cache.announce_server(server, true).await.unwrap();
        timeout(patience, servers.await_filters(committed()))
            .await
            .is_ok()
    };
    let behind = other("1", NOTHING);
    assert!(!ends(&behind, A_WHILE).await);
    let no_filter = Announcement {
        filter_denies: false,
        ..behind.clone()
    };
    assert!(ends(&no_filter, SOON).await);
    let far = Announcement {
        region: Label::closest("elsewhere"),
        ..behind.clone()
    };
    assert!(ends(&far, SOON).await);
    assert!(ends(&other("1", EVERYTHING), SOON).await);
    assert!(!ends(&behind, A_WHILE).await);
    cache.withdraw_server(&behind).await.unwrap();
    let waiting = servers.await_filters(committed());
    assert!(timeout(SOON, waiting).await.is_ok());
    // In any case the wait ends when filters without the link do not count any more.
    assert!(!ends(&behind, A_WHILE).await);
    assert!(
        timeout(SOON, servers.await_filters(Instant::now()))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_filter_denies_only_while_its_server_is_announced() {
    let fixture = Fixture::start();
    let (cache, servers) = member(&fixture).await;
    let announced = async || {
        let all = cache.servers().await.unwrap();
        all.iter().any(|server| server.announcement.filter_denies)
    };
    assert_eq!(servers.filter_counts_until(), None);
    servers.set_filter_denies(true);
    eventually(|| servers.filter_counts_until().is_some()).await;
    assert!(announced().await);
    servers.set_filter_denies(false);
    assert_eq!(servers.filter_counts_until(), None);
    while announced().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_receipt_names_the_servers_without_the_change() {
    let fixture = Fixture::start();
    let (cache, servers) = member(&fixture).await;
    let times = NegativeTimes {
        ttl: Duration::from_secs(60),
        absent_for: Duration::from_secs(5),
    };
    let visible = async |patience| {
        let name = name();
        let until = Some((Patience::All, Instant::now() + patience));
        servers
            .visible(Subject::One(&name), true, until, times, || NOW)
            .await
    };
    let alone = visible(SOON).await;
    assert!(alone.is_complete());
    assert_eq!((alone.servers, alone.applied), (1, 1));
    cache
        .announce_server(&other("1", EVERYTHING), true)
        .await
        .unwrap();
    cache
        .announce_server(&other("2", NOTHING), true)
        .await
        .unwrap();
    let some = visible(A_WHILE).await;
    assert_eq!((some.servers, some.applied), (3, 2));
    assert_eq!(some.missing, [Label::closest("name of 2")]);
    assert!(!some.is_complete());
    // As long as that server may deny the name, and then as long as resolvers keep that.
    assert_eq!(some.resolvers_until, Some(NOW.after(60 + 2 * 5 + 1)));
    eventually(|| names(&servers).len() == 3).await;
    assert_eq!(names(&servers), ["unnamed", "name of 1", "name of 2"]);
    cache
        .announce_server(&other("2", EVERYTHING), false)
        .await
        .unwrap();
    let all = visible(SOON).await;
    assert!(all.is_complete());
    assert_eq!((all.servers, all.applied), (3, 3));
    let denied = Announcement {
        denied: "x.s.example.com abc.s.example.com".into(),
        ..other("2", EVERYTHING)
    };
    cache.announce_server(&denied, false).await.unwrap();
    let all = visible(SOON).await;
    assert_eq!(all.resolvers_until, Some(NOW.after(61)));
}
