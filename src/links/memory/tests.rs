use super::shard::RETRY_AFTER;
use super::*;
use crate::base::clock::UnixTime;
use crate::link::TargetUrl;

const LIMITS: MemoryLimits = MemoryLimits {
    links: 1 << 20,
    absent: 1 << 16,
    flights: 64,
    fresh_for: Duration::from_secs(60),
    absent_for: Duration::from_secs(5),
    stale_for: Duration::from_secs(600),
    unnotified: Duration::from_secs(60),
};

fn name(code: &str) -> LinkName {
    LinkName::parse(&format!("{code}.s.example.com")).unwrap()
}

fn link(code: &str, version: u64) -> Arc<Link> {
    Arc::new(Link {
        name: name(code),
        target: TargetUrl::parse("https://example.net/").unwrap(),
        created_at: UnixTime(0),
        created_by: "test".into(),
        expires_at: None,
        ttl: None,
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
        version: Version(version),
    })
}

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(LIMITS))
}

fn lead(memory: &Arc<Memory>, code: &str, now: Instant) -> (Ticket, Wait) {
    match memory.look(&name(code), now) {
        Look::Lead(ticket, wait) => (ticket, wait),
        other => panic!("{code}: {other:?}"),
    }
}

/// The fresh state of a name: the version of its link, 0 for an absence, none if there is no fresh state.
fn fresh(memory: &Arc<Memory>, code: &str, now: Instant) -> Option<u64> {
    match memory.look(&name(code), now) {
        Look::Fresh(known, _) => Some(known.map_or(0, |link| link.version.0)),
        _ => None,
    }
}

#[tokio::test]
async fn one_flight_serves_all_who_wait() {
    let (memory, now) = (memory(), Instant::now());
    let (ticket, first) = lead(&memory, "a", now);
    let mut waits = Vec::new();
    for _ in 0..100 {
        match memory.look(&name("a"), now) {
            Look::Join(wait) => waits.push(wait),
            other => panic!("{other:?}"),
        }
    }
    ticket.land(Ok(Some(link("a", 7))), now);
    for wait in waits.iter().chain([&first]) {
        assert_eq!(wait.landing().await.unwrap().unwrap().version.0, 7);
    }
    assert_eq!(fresh(&memory, "a", now), Some(7));
    assert_eq!(memory.size().flights, 0);
}

#[tokio::test]
async fn a_flight_that_was_overtaken_by_a_change_is_not_kept() {
    let (memory, now) = (memory(), Instant::now());
    for landing in [Some(link("a", 1)), None] {
        let (ticket, wait) = lead(&memory, "a", now);
        memory.forget(&name("a"));
        // A look-up that begins after the change is another flight, whose result is kept.
        let (second, _) = lead(&memory, "a", now);
        second.land(Ok(Some(link("a", 2))), now);
        ticket.land(Ok(landing), now);
        assert!(
            wait.landing().await.is_ok(),
            "those who waited get its result all the same"
        );
        assert_eq!(fresh(&memory, "a", now), Some(2));
        memory.forget(&name("a"));
    }
}

#[tokio::test]
async fn an_abandoned_flight_fails_its_waiters_and_blocks_no_other_flight() {
    let (memory, now) = (memory(), Instant::now());
    let (ticket, wait) = lead(&memory, "a", now);
    drop(ticket);
    assert!(wait.landing().await.is_err());
    lead(&memory, "a", now).0.land(Ok(None), now);
    assert_eq!(fresh(&memory, "a", now), Some(0));
}

#[test]
fn a_failed_flight_leaves_the_link_in_memory() {
    let (memory, now) = (memory(), Instant::now());
    lead(&memory, "a", now).0.land(Ok(Some(link("a", 1))), now);
    let later = now + LIMITS.fresh_for;
    let (ticket, wait) = lead(&memory, "a", later);
    assert_eq!(wait.stale.unwrap().version.0, 1);
    ticket.land(Err(StoreError::DeadlineExceeded.into()), later);
    let (_, wait) = lead(&memory, "a", later + RETRY_AFTER);
    assert!(wait.stale.is_some());
    // But not for ever.
    let (_, wait) = lead(&memory, "a", later + LIMITS.stale_for);
    assert!(wait.stale.is_none());
}

#[test]
fn while_look_ups_fail_a_stale_link_is_looked_up_now_and_then() {
    let (memory, now) = (memory(), Instant::now());
    lead(&memory, "a", now).0.land(Ok(Some(link("a", 1))), now);
    let mut at = now + LIMITS.fresh_for;
    for _ in 0..3 {
        let (ticket, _) = lead(&memory, "a", at);
        ticket.land(Err(StoreError::DeadlineExceeded.into()), at);
        let soon = at + RETRY_AFTER - Duration::from_millis(1);
        let look = memory.look(&name("a"), soon);
        assert!(matches!(look, Look::Stale(_)), "{look:?}");
        at += RETRY_AFTER;
    }
    // A refusal because of too many calls says nothing about the next look-up.
    let (ticket, _) = lead(&memory, "a", at);
    ticket.land(Err(StoreError::Overloaded.into()), at);
    let (ticket, _) = lead(&memory, "a", at);
    ticket.land(Err(StoreError::DeadlineExceeded.into()), at);
    // A change that this server makes shows at once, and a success ends the pause.
    memory.forget(&name("a"));
    lead(&memory, "a", at).0.land(Ok(Some(link("a", 2))), at);
    assert_eq!(fresh(&memory, "a", at), Some(2));
    lead(&memory, "a", at + LIMITS.fresh_for);
}

#[test]
fn changes_of_other_servers_drop_older_links_only() {
    let (memory, now) = (memory(), Instant::now());
    lead(&memory, "a", now).0.land(Ok(Some(link("a", 5))), now);
    lead(&memory, "b", now).0.land(Ok(None), now);
    memory.forget_older(&name("a"), Version(5));
    assert_eq!(fresh(&memory, "a", now), Some(5), "its own echo");
    memory.forget_older(&name("a"), Version(6));
    memory.forget_older(&name("b"), Version(1));
    // A flight that is under way may have read an older version.
    let (slow, _) = lead(&memory, "a", now);
    memory.forget_older(&name("a"), Version(7));
    slow.land(Ok(Some(link("a", 6))), now);
    lead(&memory, "a", now);
    lead(&memory, "b", now);
}

#[test]
fn links_that_must_be_revalidated_stay_for_the_case_that_look_ups_fail() {
    let (memory, now) = (memory(), Instant::now());
    let soon = now + Duration::from_secs(1);
    lead(&memory, "a", now).0.land(Ok(Some(link("a", 5))), now);
    lead(&memory, "b", now).0.land(Ok(None), now);
    let (old, _) = lead(&memory, "c", now);
    memory.revalidate_all(soon);
    old.land(Ok(Some(link("c", 1))), now);
    let (ticket, wait) = lead(&memory, "a", soon);
    assert_eq!(ticket.held(), Some(Version(5)));
    assert_eq!(wait.stale.map(|link| link.version.0), Some(5));
    ticket.land(Ok(Some(link("a", 6))), soon);
    assert_eq!(fresh(&memory, "a", soon), Some(6));
    lead(&memory, "b", soon);
    lead(&memory, "c", soon);
}

/// The version of the link that a query gets if all look-ups fail; none if it gets no link.
fn stale(memory: &Arc<Memory>, code: &str, now: Instant) -> Option<u64> {
    let link = match memory.look(&name(code), now) {
        Look::Stale(link) => Some(link),
        Look::Lead(_, wait) | Look::Join(wait) => wait.stale,
        other => panic!("{code}: {other:?}"),
    };
    link.map(|link| link.version.0)
}

/// A look-up has failed, but a claim in Redis had a newer state than memory: queries got that one.
#[test]
fn after_a_failed_look_up_no_answer_is_older_than_before() {
    let (memory, now) = (memory(), Instant::now());
    let later = now + Duration::from_secs(1);
    let missed = |version| Missed {
        error: StoreError::DeadlineExceeded,
        was: Some(link("a", version)),
    };
    lead(&memory, "a", now).0.land(Ok(Some(link("a", 5))), now);
    memory.revalidate_all(later);
    lead(&memory, "a", later).0.land(Err(missed(7)), later);
    assert_eq!(stale(&memory, "a", later), Some(7));
    let again = later + RETRY_AFTER;
    let (ticket, wait) = lead(&memory, "a", again);
    assert_eq!(
        (ticket.held(), wait.stale.map(|it| it.version.0)),
        (Some(Version(7)), Some(7))
    );
    ticket.land(Err(missed(6)), again);
    assert_eq!(stale(&memory, "a", again), Some(7), "an older claim");
}

/// The result of a flight reaches those who wait also if it does not count any more.
#[test]
fn after_a_flight_that_was_overtaken_no_answer_is_older_than_before() {
    let (memory, now) = (memory(), Instant::now());
    for code in ["a", "b", "c", "d"] {
        lead(&memory, code, now)
            .0
            .land(Ok(Some(link(code, 5))), now);
    }
    let later = now + Duration::from_secs(1);
    memory.revalidate_all(later);
    let overtaken = |code: &str, landing: Landing| {
        let (ticket, _) = lead(&memory, code, later);
        memory.revalidate(&name(code));
        ticket.land(landing, later);
        stale(&memory, code, later)
    };
    assert_eq!(overtaken("a", Ok(Some(link("a", 7)))), Some(7));
    assert_eq!(overtaken("b", Ok(Some(link("b", 4)))), Some(5));
    assert_eq!(overtaken("c", Ok(None)), None);
    let missed = Missed {
        error: StoreError::DeadlineExceeded,
        was: Some(link("d", 8)),
    };
    assert_eq!(overtaken("d", Err(missed)), Some(8));
    // A name that is not held stays so.
    let (ticket, _) = lead(&memory, "e", later);
    memory.forget(&name("e"));
    ticket.land(Ok(Some(link("e", 1))), later);
    assert_eq!(stale(&memory, "e", later), None);
}

#[test]
fn every_possible_change_advances_the_stamps() {
    let (memory, now) = (memory(), Instant::now());
    memory.set_notified(Notifier::Stream, true);
    let check = |change: &dyn Fn(), of_others: bool| {
        let stamps = memory.stamps();
        let (own, other) = (stamps.of(&name("a")), stamps.of(&name("b")));
        change();
        assert!(!stamps.is_current(own));
        assert_eq!(stamps.is_current(other), !of_others);
    };
    check(&|| _ = memory.forget(&name("a")), false);
    check(&|| _ = memory.forget_older(&name("a"), Version(1)), false);
    check(&|| memory.revalidate_all(now), true);
    check(
        &|| {
            memory.set_notified(Notifier::Stream, false);
        },
        true,
    );
}

#[test]
fn a_flight_from_before_a_revalidation_is_not_joined() {
    let (memory, now) = (memory(), Instant::now());
    let soon = now + Duration::from_secs(1);
    let (old, _) = lead(&memory, "a", now);
    memory.revalidate_all(soon);
    // This flight may have read the state from before the missed changes, and callers now take stamps from after
    // them.
    let (new, _) = lead(&memory, "a", soon);
    new.land(Ok(Some(link("a", 2))), soon);
    old.land(Ok(Some(link("a", 1))), now);
    assert_eq!(fresh(&memory, "a", soon), Some(2));
}

#[test]
fn without_notification_of_changes_links_are_looked_up_sooner() {
    let limits = MemoryLimits {
        unnotified: Duration::from_secs(1),
        ..LIMITS
    };
    let (memory, now) = (Arc::new(Memory::new(limits)), Instant::now());
    let later = now + Duration::from_secs(2);
    lead(&memory, "a", now).0.land(Ok(Some(link("a", 1))), now);
    lead(&memory, "b", now).0.land(Ok(None), now);
    assert_eq!(fresh(&memory, "a", now), Some(1));
    assert_eq!(fresh(&memory, "b", now), Some(0));
    lead(&memory, "a", later);
    memory.set_notified(Notifier::Stream, true);
    assert_eq!(fresh(&memory, "a", later), Some(1));
    assert_eq!(fresh(&memory, "b", later), Some(0));
    memory.set_notified(Notifier::Stream, false);
    lead(&memory, "b", later);
}

#[test]
fn absent_names_stay_briefly_and_push_no_link_out() {
    let (memory, now) = (memory(), Instant::now());
    for n in 0..500 {
        let code = format!("link{n}");
        lead(&memory, &code, now)
            .0
            .land(Ok(Some(link(&code, 1))), now);
    }
    for n in 0..20_000 {
        lead(&memory, &format!("absent{n}"), now)
            .0
            .land(Ok(None), now);
    }
    let size = memory.size();
    assert_eq!(size.links, 500);
    assert!(
        size.absent > 100 && size.absent_bytes <= LIMITS.absent,
        "{size:?}"
    );
    assert_eq!(fresh(&memory, "absent19999", now), Some(0));
    assert_eq!(fresh(&memory, "absent19999", now + LIMITS.absent_for), None);
}

#[test]
fn flights_are_bounded() {
    let (memory, now) = (memory(), Instant::now());
    let mut tickets = Vec::new();
    let mut full = 0;
    for n in 0..1_000 {
        match memory.look(&name(&n.to_string()), now) {
            Look::Lead(ticket, _) => tickets.push(ticket),
            Look::Full => full += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(tickets.len() <= LIMITS.flights && full >= 1_000 - LIMITS.flights);
    drop(tickets);
    assert_eq!(memory.size().flights, 0);
}
