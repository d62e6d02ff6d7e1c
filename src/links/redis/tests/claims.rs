//! Claims: which node may put a value, and which states never come back.

use super::*;

#[tokio::test]
async fn one_reader_puts_what_it_has_read_and_all_can_read_it() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    assert_eq!(found(&one).await, None);
    let claim = one.claim_read(&name()).await.unwrap();
    assert!(two.claim_read(&name()).await.is_none(), "one reader puts");
    assert_eq!(found(&two).await, None, "a claim is no answer");
    one.fill(&name(), claim, Some(&link(7)));
    filled(&one).await;
    assert_eq!(found(&two).await, Some(7));
    assert_eq!(
        fixture.held(&name()),
        "{\"version\":7,\"url\":\"https://example.net/7\",\"created_at\":1,\"created_by\":\"test\",\"at\":1800000000,\"of\":\"0000000000000001\"}"
    );
    assert_eq!(fixture.life(&name()), 3_600);
}

#[tokio::test]
async fn values_expire_with_their_link_and_absences_soon() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    let check = async |found: Option<Link>, life| {
        let claim = node.claim_read(&name()).await.unwrap();
        node.fill(&name(), claim, found.as_ref());
        filled(&node).await;
        assert_eq!(fixture.life(&name()), life);
        fixture.evict(&name());
    };
    let ending = |seconds| Link {
        expires_at: Some(UnixTime(NOW.0 + seconds)),
        ..link(7)
    };
    check(Some(ending(60)), 60).await;
    check(Some(ending(100_000)), 3_600).await;
    check(Some(ending(0)), 5).await;
    check(None, 5).await;
}

#[tokio::test]
async fn a_slow_reader_puts_nothing_after_a_change_of_the_name() {
    let fixture = Fixture::start();
    let (reader, writer) = (fixture.node().await, fixture.node().await);
    for evicted in [false, true] {
        let claim = reader.claim_read(&name()).await.unwrap();
        // The store gave the reader version 1; now the link changes.
        writer.begin(&name()).await.finish(&written(2)).await;
        if evicted {
            fixture.evict(&name());
        }
        reader.fill(&name(), claim, Some(&link(1)));
        filled(&reader).await;
        let expected = if evicted { None } else { Some(2) };
        assert_eq!(found(&reader).await, expected, "evicted: {evicted}");
        let _ = fixture.cli(&["FLUSHALL"]);
    }
    // Nor during a change, nor after a deletion.
    let claim = reader.claim_read(&name()).await.unwrap();
    let change = writer.begin(&name()).await;
    reader.fill(&name(), claim, Some(&link(1)));
    filled(&reader).await;
    assert_eq!(found(&reader).await, None);
    assert!(reader.claim_read(&name()).await.is_none());
    change.finish(&Written::Deleted(Version(3))).await;
    assert_eq!(found(&reader).await, Some(0));
    assert_eq!(
        fixture.held(&name()),
        "{\"version\":3,\"absent\":true,\"at\":1800000000,\"of\":\"0000000000000001\"}"
    );
}

#[tokio::test]
async fn writers_that_overtake_each_other_leave_no_old_value() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    // The store makes version 1 first and then 2; the nodes finish in the other order.
    let first = one.begin(&name()).await;
    let second = two.begin(&name()).await;
    second.finish(&written(2)).await;
    assert_ne!(found(&one).await, Some(1));
    first.finish(&written(1)).await;
    assert_eq!(found(&one).await, None, "the store has to be asked");
    // The same if the claims have been evicted meanwhile.
    for (held, expected) in [(None, None), (Some(2), Some(2)), (Some(0), None)] {
        let _ = fixture.cli(&["FLUSHALL"]);
        let late = one.begin(&name()).await;
        fixture.evict(&name());
        if let Some(version) = held {
            let claim = two.claim_read(&name()).await.unwrap();
            two.fill(&name(), claim, Some(&link(version)));
            filled(&two).await;
        }
        late.finish(&written(1)).await;
        assert_eq!(found(&one).await, expected, "held: {held:?}");
    }
    // A reader whose claim came after the eviction may have read a newer version, or an older one.
    let _ = fixture.cli(&["FLUSHALL"]);
    let late = one.begin(&name()).await;
    fixture.evict(&name());
    let claim = two.claim_read(&name()).await.unwrap();
    late.finish(&written(1)).await;
    two.fill(&name(), claim, Some(&link(2)));
    filled(&two).await;
    assert_eq!(found(&one).await, None);
}

#[tokio::test]
async fn a_change_without_effect_removes_its_claim_and_one_with_an_unknown_outcome_keeps_it() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    node.begin(&name()).await.finish(&Written::Nothing).await;
    assert_eq!(fixture.held(&name()), "");
    let kept = Written::Kept(link(3).into());
    node.begin(&name()).await.finish(&kept).await;
    assert_eq!(found(&node).await, Some(3));
    assert_eq!(fixture.cli(&["XLEN", "t:changes"]), "1", "the node's own");
    // The task of the change has gone.
    drop(node.begin(&name()).await);
    assert!(fixture.held(&name()).contains("writes"));
    assert_eq!(get(&node, &name()).await, Err(Failure::Skipped));
    assert_eq!(node.repairs_pending(), 1);
    let _ = fixture.cli(&["FLUSHALL"]);
    let other = LinkName::parse("other.s.example.com").unwrap();
    drop(node.begin(&other).await);
    assert_eq!(node.repairs_pending(), 2);
    assert_eq!(get(&node, &other).await, Err(Failure::Skipped));
}

#[tokio::test]
async fn restoring_a_claim_leaves_everything_as_it_was() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    one.begin(&name()).await.finish(&written(1)).await;
    let before = (fixture.held(&name()), fixture.life(&name()));
    let changes = fixture.cli(&["XLEN", "t:changes"]);

    let change = one.begin(&name()).await;
    // No node trusts Redis meanwhile, but the claim contains the former link.
    let Ok(Held::Changing(old)) = get(&two, &name()).await else {
        panic!("{}", fixture.held(&name()));
    };
    assert_eq!(old.version, Version(1));
    change.hold().await;
    assert!(fixture.held(&name()).contains("writes"));
    assert!(two.claim_read(&name()).await.is_none());
    change.restore().await;
    assert_eq!((fixture.held(&name()), fixture.life(&name())), before);
    assert_eq!(found(&two).await, Some(1));
    assert_eq!(fixture.cli(&["XLEN", "t:changes"]), changes);

    // The value that one of two writers has replaced may be older than what the other one has written.
    let (first, second) = (one.begin(&name()).await, two.begin(&name()).await);
    assert_eq!(get(&two, &name()).await, Ok(Held::Nothing));
    second.finish(&written(2)).await;
    first.restore().await;
    assert_eq!(found(&two).await, None);

    // A value is not restored after its life, nor after an eviction.
    let _ = fixture.cli(&["FLUSHALL"]);
    one.begin(&name()).await.finish(&written(3)).await;
    let key = format!("t:link:{}", name());
    let _ = fixture.cli(&["PEXPIRE", &key, "1"]);
    let change = one.begin(&name()).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    change.restore().await;
    assert_eq!(fixture.held(&name()), "");
    one.begin(&name()).await.finish(&written(4)).await;
    let change = one.begin(&name()).await;
    fixture.evict(&name());
    change.restore().await;
    assert_eq!(fixture.held(&name()), "");
}

#[tokio::test]
async fn unknown_texts_and_types_are_replaced() {
    let fixture = Fixture::start();
    let node = fixture.node().await;
    let key = format!("t:link:{}", name());
    let nonsense: [&[&str]; 3] = [
        &["SET", &key, "nonsense"],
        &["RPUSH", &key, "a", "b"],
        &["SET", &key, "{\"version\":99}"],
    ];
    for command in nonsense {
        let _ = fixture.cli(command);
        assert_eq!(found(&node).await, None, "{command:?}");
        let claim = node.claim_read(&name()).await.unwrap();
        node.fill(&name(), claim, Some(&link(7)));
        filled(&node).await;
        assert_eq!(found(&node).await, Some(7), "{command:?}");
        let _ = fixture.cli(command);
        node.begin(&name()).await.finish(&written(8)).await;
        assert_eq!(found(&node).await, Some(8), "{command:?}");
        let _ = fixture.cli(&["DEL", &key]);
    }
}

#[tokio::test]
async fn a_writer_that_finds_the_claim_of_another_makes_it_a_shared_one() {
    let fixture = Fixture::start();
    let (one, two) = (fixture.node().await, fixture.node().await);
    // The claim of `one` is lost. The store then makes version 1 for `two`, and version 2 for `one`.
    let first = one.begin(&name()).await;
    fixture.evict(&name());
    let second = two.begin(&name()).await;
    first.finish(&written(2)).await;
    second.finish(&written(1)).await;
    assert_eq!(found(&one).await, None);
    assert!(fixture.held(&name()).contains("several"));
    // The same if `one` repairs later.
    let _ = fixture.cli(&["FLUSHALL"]);
    let second = two.begin(&name()).await;
    one.drop_older(&name(), Version(2));
    filled(&one).await;
    second.finish(&written(1)).await;
    assert_eq!(found(&one).await, None);
}
