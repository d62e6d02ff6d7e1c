//! The part of the battery that is about idempotency keys.

use tinyns::base::clock::UnixTime;
use tinyns::store::idempotency::{
    Claim, Claimed, DAY, KEPT_FOR, KeyId, LEASE, MAX_A_DAY, MAX_OUTCOME_LEN,
};
use tinyns::store::{Segment, Store, StoreError};

use super::{Backend, NOW, SECOND, at_once, list_all, make, new, scan_all};

/// The time of the tests in seconds, the beginning of a day.
const START: u64 = NOW / SECOND;

fn at(seconds: u64) -> UnixTime {
    UnixTime(START + seconds)
}

/// A request with this key and this payload.
fn request(key: u8, payload: u8, holder: u64) -> Claim {
    Claim {
        id: KeyId([key; 32]),
        caller: [0xca; 32],
        fingerprint: [payload; 32],
        holder,
        weight: 1,
    }
}

async fn check(store: &dyn Store, claim: Claim, seconds: u64, expected: Claimed) {
    let claimed = store.claim_key(&claim, at(seconds)).await.unwrap();
    assert_eq!(claimed, expected, "{claim:?} after {seconds} s");
}

async fn keep(store: &dyn Store, claim: Claim, outcome: &[u8], seconds: u64) -> bool {
    let kept = store.keep_outcome(claim.id, claim.holder, outcome.into(), at(seconds));
    kept.await.unwrap()
}

async fn extend(store: &dyn Store, claim: Claim, seconds: u64) -> bool {
    let extended = store.extend_key(claim.id, claim.holder, at(seconds));
    extended.await.unwrap()
}

pub(super) async fn a_key_is_claimed_once_and_finds_its_outcome_for_a_day(backend: &dyn Backend) {
    let store = &*backend.open().await;
    let first = request(1, 7, u64::MAX);
    check(store, first, 0, Claimed::Yours).await;
    check(store, request(1, 7, 2), 1, Claimed::InWork).await;
    check(store, request(1, 8, 2), 1, Claimed::OtherPayload).await;
    check(store, request(2, 7, 3), 1, Claimed::Yours).await;

    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    assert!(!keep(store, request(1, 7, 2), b"x", 2).await, "not its key");
    assert!(keep(store, first, &bytes, 2).await);
    assert!(!keep(store, first, b"x", 3).await, "kept already");
    assert!(!extend(store, first, 100).await, "kept already");
    for seconds in [3, 2 + LEASE, 1 + KEPT_FOR] {
        check(
            store,
            request(1, 7, 4),
            seconds,
            Claimed::Done(bytes.clone()),
        )
        .await;
        check(store, request(1, 8, 4), seconds, Claimed::OtherPayload).await;
    }
    // Free again, also for another payload.
    check(store, request(1, 8, 5), 2 + KEPT_FOR, Claimed::Yours).await;
    check(store, request(1, 8, 6), 2 + KEPT_FOR, Claimed::InWork).await;
    assert!(!keep(store, first, b"x", 3 + KEPT_FOR).await, "long over");
}

pub(super) async fn a_key_whose_lease_is_over_goes_to_the_same_payload(backend: &dyn Backend) {
    let store = &*backend.open().await;
    let first = request(1, 7, 1);
    check(store, first, 0, Claimed::Yours).await;
    check(store, request(1, 7, 2), LEASE - 1, Claimed::InWork).await;
    assert!(extend(store, first, LEASE + 50).await);
    check(store, request(1, 7, 2), LEASE + 49, Claimed::InWork).await;
    let second = request(1, 7, 2);
    check(store, request(1, 8, 3), LEASE + 50, Claimed::OtherPayload).await;
    check(store, second, LEASE + 50, Claimed::Yours).await;
    // The first one has lost it.
    assert!(!extend(store, first, 2 * LEASE + 60).await);
    assert!(!keep(store, first, b"first", LEASE + 51).await);
    check(store, request(1, 7, 3), LEASE + 51, Claimed::InWork).await;
    // It is given up, and goes on at once.
    assert!(extend(store, second, 0).await);
    check(store, request(1, 8, 3), LEASE + 52, Claimed::OtherPayload).await;
    let third = request(1, 7, 3);
    check(store, third, LEASE + 52, Claimed::Yours).await;
    assert!(keep(store, third, b"third", LEASE + 53).await);
    let done = Claimed::Done(b"third".into());
    check(store, request(1, 7, 4), LEASE + 54, done).await;
}

pub(super) async fn of_concurrent_claims_one_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    for key in 1..5 {
        let claims = at_once(&store, |store, i| async move {
            store.claim_key(&request(key, 7, i as u64), at(0)).await
        })
        .await;
        let (yours, others): (Vec<_>, Vec<_>) =
            claims.into_iter().partition(|c| *c == Claimed::Yours);
        assert_eq!(yours.len(), 1);
        assert!(others.iter().all(|c| *c == Claimed::InWork), "{others:?}");
    }
}

pub(super) async fn a_caller_claims_a_limited_amount_a_day(backend: &dyn Backend) {
    let store = &*backend.open().await;
    let weighing = |key, weight| Claim {
        weight,
        ..request(key, 7, key.into())
    };
    let last = DAY - 100;
    check(store, weighing(9, MAX_A_DAY + 1), last, Claimed::TooMany).await;
    check(store, weighing(1, MAX_A_DAY - 2), last, Claimed::Yours).await;
    check(store, weighing(2, 3), last, Claimed::TooMany).await;
    check(store, weighing(3, 1), last, Claimed::Yours).await;
    // Neither another caller nor a key that is known already counts.
    let other = Claim {
        caller: [0xbb; 32],
        ..weighing(4, 3)
    };
    check(store, other, last, Claimed::Yours).await;
    assert!(extend(store, weighing(3, 1), 0).await);
    check(store, weighing(3, 1), last, Claimed::Yours).await;
    check(store, weighing(5, 1), last, Claimed::Yours).await;
    check(store, weighing(6, 1), last, Claimed::TooMany).await;
    check(store, weighing(3, 1), last + 1, Claimed::InWork).await;
    // What was refused holds no key, and the next day is another one.
    check(store, weighing(6, 1), DAY, Claimed::Yours).await;
}

pub(super) async fn keys_are_no_links_and_outlive_the_store(backend: &dyn Backend) {
    let store = backend.open().await;
    let link = make(&*store, new("a", "1"), NOW).await;
    let largest = vec![0xff; MAX_OUTCOME_LEN];
    check(&*store, request(1, 7, 1), 0, Claimed::Yours).await;
    check(&*store, request(2, 7, 1), 0, Claimed::Yours).await;
    assert!(keep(&*store, request(1, 7, 1), &largest, 0).await);
    let larger = vec![0; MAX_OUTCOME_LEN + 1];
    let refused = store.keep_outcome(KeyId([2; 32]), 1, larger, at(0)).await;
    assert!(
        matches!(refused, Err(StoreError::Refused(_))),
        "{refused:?}"
    );
    let listed = list_all(&*store, super::ZONE, 10).await;
    assert_eq!(listed, std::slice::from_ref(&link));
    let whole = Segment { index: 0, total: 1 };
    assert_eq!(scan_all(&*store, whole, 10).await, [link]);
    store.close().await;

    let store = backend.open().await;
    check(&*store, request(1, 7, 2), 1, Claimed::Done(largest)).await;
}
