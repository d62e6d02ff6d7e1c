//! Calls that fail, hang or lose their reply.

use std::time::{Duration, Instant};

use super::*;
use crate::dynamo::{Fate, TABLE};

#[tokio::test]
async fn a_failed_write_says_whether_it_may_have_been_done() {
    let way = Way::new().await;
    make(&way.store, new("a", "1"), NOW).await;
    let throttled = || Fate::error(400, "ThrottlingException");
    let check = async |fates: [Fate; 3], cause: &str, is_certain: bool| {
        way.proxy.next(fates.clone());
        let change = Change {
            ttl: Some(Ttl::from_secs(60)),
            ..Change::default()
        };
        let error = way
            .store
            .change(&name("a"), None, change, &by(), NOW + 9)
            .await;
        let error = error.unwrap_err();
        assert_eq!(error.cause(), cause, "{fates:?}: {error}");
        assert_eq!(error.is_certain(), is_certain, "{fates:?}: {error}");
    };
    check([throttled(), throttled(), throttled()], "throttled", true).await;
    check([Fate::Cut, throttled(), throttled()], "unavailable", false).await;
    check([throttled(), throttled(), Fate::Cut], "unavailable", false).await;
    let refused = || Fate::error(400, "AccessDeniedException");
    check([refused(), refused(), refused()], "refused", true).await;
    let broken = || Fate::error(500, "InternalServerError");
    check([broken(), broken(), broken()], "unavailable", false).await;
}

/// The kinds of failures that a caller can distinguish.
fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unreachable(_) => "unreachable",
        StoreError::Refused(_) => "refused",
        StoreError::Throttled(_) => "throttled",
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Overloaded => "overloaded",
        StoreError::DeadlineExceeded => "deadline",
        StoreError::Corrupt { .. } => "corrupt",
    }
}

#[tokio::test]
async fn failures_are_classified_in_time_and_end() {
    let way = Way::new().await;
    let link = make(&way.store, new("a", "1"), NOW).await;
    way.proxy.requests();
    for (fate, expected) in [
        (Fate::Hang, "deadline"),
        (Fate::Cut, "unavailable"),
        (Fate::error(500, "InternalServerError"), "unavailable"),
        (Fate::error(503, "ServiceUnavailable"), "unavailable"),
        (Fate::error(400, "ThrottlingException"), "throttled"),
        (Fate::error(400, "RequestLimitExceeded"), "throttled"),
        (
            Fate::error(400, "ProvisionedThroughputExceededException"),
            "throttled",
        ),
        (Fate::error(400, "AccessDeniedException"), "refused"),
        (Fate::error(400, "ResourceNotFoundException"), "refused"),
        (Fate::error(400, "UnrecognizedClientException"), "refused"),
        (Fate::Reply(200, "{".into()), "unavailable"),
        (Fate::Reply(502, "<html>\u{1b}[31m".into()), "unavailable"),
    ] {
        way.proxy.all(fate.clone());
        let began = Instant::now();
        let error = way.store.get(&name("a")).await.unwrap_err();
        assert_eq!(kind(&error), expected, "{fate:?}: {error}");
        assert!(began.elapsed() < READ_LIMIT, "{fate:?}");
        let text = error.to_string();
        assert!(!text.contains(char::is_control), "{text}");
        assert!(expected == "deadline" || text.contains(TABLE), "{text}");
        assert!((1..=3).contains(&way.proxy.requests()), "{fate:?}");
        let error = way.store.ping().await.unwrap_err();
        assert_eq!(kind(&error), expected, "{fate:?}: {error}");
        // It is over as soon as it is over.
        way.proxy.all(Fate::Pass);
        check_get(&way.store, "a", Some(&link)).await;
        way.store.ping().await.unwrap();
        way.proxy.requests();
    }
}

#[tokio::test]
async fn writes_end_before_the_timeout_of_their_callers() {
    let way = Way::new().await;
    for (fate, expected) in [
        (Fate::Hang, "deadline"),
        (Fate::error(400, "ThrottlingException"), "throttled"),
    ] {
        way.proxy.all(fate.clone());
        let began = Instant::now();
        let zone = origin(ZONE);
        let (created, listed) = tokio::join!(
            way.store.create(new("a", "1"), NOW),
            way.store.list(&zone, None, 10)
        );
        for error in [created.unwrap_err(), listed.unwrap_err()] {
            assert_eq!(kind(&error), expected, "{fate:?}: {error}");
        }
        assert!(began.elapsed() < WRITE_LIMIT, "{fate:?}");
    }
    way.proxy.all(Fate::Pass);
    make(&way.store, new("a", "1"), NOW).await;
}

#[tokio::test]
async fn one_failed_request_is_repeated() {
    let way = Way::new().await;
    let link = make(&way.store, new("a", "1"), NOW).await;
    for fate in [
        Fate::Hang,
        Fate::Cut,
        Fate::error(500, "InternalServerError"),
        Fate::error(400, "ThrottlingException"),
        Fate::Delay(Duration::from_millis(100)),
    ] {
        // On a machine that stalls the deadline may pass once, but not each time.
        let mut found = Err(StoreError::DeadlineExceeded);
        for _ in 0..5 {
            way.proxy.next([fate.clone()]);
            found = way.store.get(&name("a")).await;
            if !matches!(found, Err(StoreError::DeadlineExceeded)) {
                break;
            }
        }
        assert_eq!(found.unwrap().as_ref(), Some(&link), "{fate:?}");
    }
}

#[tokio::test]
async fn a_write_whose_reply_is_lost_recognises_its_own_item() {
    let way = Way::new().await;
    way.proxy.next([Fate::LoseReply]);
    let first = make(&way.store, new("a", "1"), NOW).await;
    way.proxy.next([Fate::LoseReply]);
    let version = Some(first.version);
    let change = Change {
        target: Some(url("2")),
        ..Change::default()
    };
    let changed = way
        .store
        .change(&name("a"), version, change, &by(), NOW)
        .await;
    let Changed::Changed(second) = changed.unwrap() else {
        panic!("a conflict with itself");
    };
    check_get(&way.store, "a", Some(&second)).await;
    way.proxy.next([Fate::LoseReply]);
    let gone = remove(&way.store, "a", NOW + SECOND).await;
    assert!(gone > second.version);
    way.proxy.next([Fate::LoseReply]);
    let third = make(&way.store, new("a", "3"), NOW).await;
    assert!(third.version > gone);
    way.proxy.next([Fate::LoseReply]);
    assert!(remove(&way.store, "a", NOW).await > third.version);
}

#[tokio::test]
async fn the_common_write_is_one_request() {
    let way = Way::new().await;
    let check = async |requests: usize, what: &str| {
        assert_eq!(way.proxy.requests(), requests, "{what}");
    };
    make(&way.store, new("a", "1"), NOW).await;
    check(1, "create").await;
    way.store.create(new("a", "2"), NOW + 1).await.unwrap();
    check(1, "taken").await;
    let change = Change::default();
    let (a, me) = (name("a"), by());
    let changed = way.store.change(&a, None, change.clone(), &me, NOW + 2);
    changed.await.unwrap();
    check(1, "change").await;
    let stale = way.store.change(&a, Some(Version(1)), change, &me, NOW + 3);
    stale.await.unwrap();
    check(1, "conflict").await;
    remove(&way.store, "a", NOW + 4).await;
    check(1, "delete").await;
    make(&way.store, new("a", "1"), NOW + 5).await;
    check(1, "create again").await;
    remove(&way.store, "a", NOW).await;
    check(2, "delete with a clock set back").await;
    make(&way.store, new("a", "1"), NOW).await;
    check(2, "create with a clock set back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_bound_wait_for_their_turn_and_end_in_time() {
    let way = Way::new().await;
    let link = make(&way.store, new("a", "1"), NOW).await;
    let store = Arc::new(way.store);
    // More than may be under way at once.
    way.proxy.on_writes(&Fate::Delay(Duration::from_millis(50)));
    let calls = (0..200).map(|i| {
        let store = store.clone();
        tokio::spawn(async move { store.create(new(&format!("c{i}"), "1"), NOW).await })
    });
    for made in join_all(calls.collect::<Vec<_>>()).await {
        let made = made.unwrap();
        assert!(matches!(made, Ok(Created::New(_))), "{made:?}");
    }

    way.proxy.all(Fate::Hang);
    let calls = (0..300).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.get(&name("a")).await.unwrap_err() })
    });
    let began = Instant::now();
    for error in join_all(calls.collect::<Vec<_>>()).await {
        let kind = kind(&error.unwrap());
        assert!(
            ["overloaded", "deadline", "unreachable"].contains(&kind),
            "{kind}"
        );
    }
    assert!(began.elapsed() < 4 * READ_LIMIT);
    way.proxy.all(Fate::Pass);
    check_get(&*store, "a", Some(&link)).await;
}

#[tokio::test]
async fn closing_waits_for_writes_in_progress() {
    let way = Way::new().await;
    way.proxy.all(Fate::Delay(Duration::from_millis(200)));
    let store = Arc::new(way.store);
    let begun = tokio::spawn({
        let store = store.clone();
        async move { store.create(new("a", "1"), NOW).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    store.close().await;
    assert!(begun.is_finished());
    assert!(matches!(begun.await.unwrap(), Ok(Created::New(_))));
}
