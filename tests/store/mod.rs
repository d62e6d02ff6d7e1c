//! The battery that every store must pass; the modules below test each backend's own behaviour.
//!
//! A backend implements [`Backend`] and calls [`store_battery!`] in a module of its own.

mod audit;
mod destinations;
mod documents;
mod dynamodb;
mod find;
mod idempotency;
mod lists;
mod longest;
mod postgres;
mod rankings;
mod sqlite;
mod statistics;
mod takeover;
mod withheld;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use tinyns::base::clock::UnixTime;
use tinyns::link::{
    About, AboutChange, Code, Destinations, Link, LinkName, Note, Origin, Rank, Reason, Tags,
    TargetUrl, Title, Ttl, Version, Withheld,
};
use tinyns::store::audit::Actor;
use tinyns::store::{Change, Changed, Created, Deleted, NewLink, Segment, Store, StoreError};

use self::audit::{
    a_document_and_its_entry_are_put_together, concurrent_changes_have_an_entry_each,
    each_change_has_one_entry, entries_are_filtered_and_come_newest_first,
};
use self::destinations::{
    destinations_follow_changes, every_destination_is_searched, several_destinations_are_kept,
};
use self::documents::{
    a_document_has_a_largest_size, documents_are_no_links_and_outlive_the_store,
    documents_are_put_by_revision, of_concurrent_puts_of_a_document_one_wins,
};
use self::find::{
    filters_apply_together_and_pages_are_stable, unchanged_links_are_found_once_while_others_change,
};
use self::lists::{
    a_limit_of_nothing_still_moves_on, list_all, lists_page_without_gap_or_repetition,
    lists_stay_right_while_links_come_and_go, scan_all, segments_are_disjoint_and_complete,
    zones_do_not_mix,
};
use self::longest::the_longest_values_come_back_as_they_were;
use self::rankings::{rankings_follow_many_links, rankings_page_without_gap_or_repetition};
use self::statistics::{
    a_batch_counts_once, a_batch_that_is_too_large_adds_nothing, concurrent_batches_all_count,
    counts_add_up_in_every_unit_of_time, days_months_and_years_turn_at_midnight,
    hours_and_days_go_and_months_stay, kept_sums_go_when_they_are_no_longer_kept,
    names_without_a_link_have_no_sums, statistics_battery, sums_are_taken_over_once,
    sums_go_with_the_link_unless_they_are_kept, the_heaviest_referrers_stay,
};
use self::takeover::{
    a_later_state_is_not_replaced, a_link_is_taken_over_as_it_was, an_epoch_makes_another_identity,
    entries_are_taken_over_once, many_links_are_taken_over_together,
    of_concurrent_takeovers_the_latest_stays, versions_grow_after_a_takeover,
};
use self::withheld::a_withheld_link_is_kept_and_guarded;

use self::idempotency::{
    a_caller_claims_a_limited_amount_a_day, a_key_is_claimed_once_and_finds_its_outcome_for_a_day,
    a_key_whose_lease_is_over_goes_to_the_same_payload, keys_are_no_links_and_outlive_the_store,
    of_concurrent_claims_one_wins,
};

/// One second in the unit of `now_micros`.
const SECOND: u64 = 1_000_000;
/// The time at which the tests begin: 2026-01-01.
const NOW: u64 = 1_767_225_600 * SECOND;
const ZONE: &str = "s.example.com";

/// A place where a store of some kind keeps its links.
#[async_trait]
trait Backend: Send + Sync {
    /// Opens the store; after `close` once more, with the same links.
    async fn open(&self) -> Arc<dyn Store>;
}

/// Makes a test of each function of the battery. The argument makes a [`Backend`] without links.
macro_rules! store_battery {
    ($make:expr) => {
        store_battery! { $make;
            create_tells_new_same_and_taken
            an_expired_link_counts_as_absent
            versions_grow_over_delete_reopening_and_a_clock_set_back
            versions_grow_over_expiry_and_a_clock_set_back
            change_is_partial
            change_and_delete_heed_the_expected_version
            of_concurrent_creates_one_wins
            of_concurrent_changes_with_a_version_one_wins
            of_concurrent_deletes_one_wins
            lists_page_without_gap_or_repetition
            lists_stay_right_while_links_come_and_go
            a_limit_of_nothing_still_moves_on
            zones_do_not_mix
            filters_apply_together_and_pages_are_stable
            unchanged_links_are_found_once_while_others_change
            segments_are_disjoint_and_complete
            the_longest_values_come_back_as_they_were
            a_withheld_link_is_kept_and_guarded
            several_destinations_are_kept
            destinations_follow_changes
            every_destination_is_searched
            what_is_absent_is_absent
            reopening_keeps_every_field
            documents_are_put_by_revision
            of_concurrent_puts_of_a_document_one_wins
            documents_are_no_links_and_outlive_the_store
            a_document_has_a_largest_size
            a_key_is_claimed_once_and_finds_its_outcome_for_a_day
            a_key_whose_lease_is_over_goes_to_the_same_payload
            of_concurrent_claims_one_wins
            a_caller_claims_a_limited_amount_a_day
            keys_are_no_links_and_outlive_the_store
            a_link_is_taken_over_as_it_was
            a_later_state_is_not_replaced
            many_links_are_taken_over_together
            versions_grow_after_a_takeover
            of_concurrent_takeovers_the_latest_stays
            an_epoch_makes_another_identity
            a_closed_store_says_so
        }
    };
    ($make:expr; $($test:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::store::$test(&$make).await;
            }
        )+
    };
}
use store_battery;

/// The same for the part of the battery that is about the audit log.
macro_rules! audit_battery {
    ($make:expr) => {
        $crate::store::store_battery! { $make;
            each_change_has_one_entry
            a_document_and_its_entry_are_put_together
            entries_are_filtered_and_come_newest_first
            concurrent_changes_have_an_entry_each
            entries_are_taken_over_once
        }
    };
}
use audit_battery;

fn origin(text: &str) -> Origin {
    Origin::parse(text).unwrap()
}

fn name_in(code: &str, zone: &str) -> LinkName {
    LinkName::new(&Code::parse(code).unwrap(), &origin(zone))
}

fn name(code: &str) -> LinkName {
    name_in(code, ZONE)
}

fn url(path: &str) -> TargetUrl {
    TargetUrl::parse(&format!("https://example.net/{path}")).unwrap()
}

fn new(code: &str, path: &str) -> NewLink {
    NewLink {
        name: name(code),
        target: url(path),
        created_by: "battery".into(),
        expires_at: None,
        ttl: None,
        about: About::default(),
        destinations: None,
        withheld: None,
    }
}

/// The texts of a link; empty for none.
fn about(title: &str, tags: &[&str], note: &str) -> About {
    About::new(
        Title::parse(title).ok(),
        Tags::parse(tags.iter().copied()).unwrap(),
        Note::parse(note).ok(),
    )
}

/// Why a link is withheld.
fn withheld(kind: &str, reason: &str, authority: Option<&str>) -> Option<Box<Withheld>> {
    Some(Box::new(Withheld::parse(kind, reason, authority).unwrap()))
}

/// Who makes the changes.
fn by() -> Actor {
    "battery".into()
}

fn ending(code: &str, path: &str, end_micros: u64) -> NewLink {
    NewLink {
        expires_at: Some(UnixTime(end_micros / SECOND)),
        ..new(code, path)
    }
}

/// Creates a link that must be new.
async fn make(store: &dyn Store, new: NewLink, now: u64) -> Link {
    match store.create(new, now).await.unwrap() {
        Created::New(link) => link,
        other => panic!("not new: {other:?}"),
    }
}

/// Deletes a link that must be there; gives the version of its absence.
async fn remove(store: &dyn Store, code: &str, now: u64) -> Version {
    match store.delete(&name(code), None, &by(), now).await.unwrap() {
        Deleted::Deleted(version) => version,
        other => panic!("not deleted: {other:?}"),
    }
}

async fn check_get(store: &dyn Store, code: &str, expected: Option<&Link>) {
    let found = store.get(&name(code)).await.unwrap();
    assert_eq!(found.as_ref(), expected, "{code}");
}

fn codes(links: &[Link]) -> Vec<String> {
    links.iter().map(|l| l.name.code().to_owned()).collect()
}

async fn create_tells_new_same_and_taken(backend: &dyn Backend) {
    let store = backend.open().await;
    let link = make(&*store, new("a", "1"), NOW + 7).await;
    assert_eq!(link.name, name("a"));
    assert_eq!(link.target, url("1"));
    assert_eq!(link.created_at, UnixTime(NOW / SECOND));
    assert_eq!(&*link.created_by, "battery");
    assert_eq!(link.version, Version(NOW + 7));
    check_get(&*store, "a", Some(&link)).await;

    let later = NOW + SECOND;
    // The same target is the same link, whatever else the request asks for.
    let same = store.create(ending("a", "1", NOW + 60 * SECOND), later);
    assert_eq!(same.await.unwrap(), Created::Same(link.clone()));
    let taken = store.create(new("a", "2"), later).await.unwrap();
    assert_eq!(taken, Created::Taken(link.clone()));
    check_get(&*store, "a", Some(&link)).await;
}

async fn an_expired_link_counts_as_absent(backend: &dyn Backend) {
    let store = backend.open().await;
    let end = NOW + 10 * SECOND;
    let first = make(&*store, ending("a", "1", end), NOW).await;

    // Until the very last microsecond the link lives.
    let last = end - 1;
    let taken = store.create(new("a", "2"), last).await.unwrap();
    assert_eq!(taken, Created::Taken(first.clone()));
    let conflict = store
        .delete(&name("a"), Some(Version(1)), &by(), last)
        .await;
    assert_eq!(conflict.unwrap(), Deleted::Conflict(first.clone()));

    // From its end on it does not, though the store may still have it.
    let changed = store
        .change(&name("a"), None, Change::default(), &by(), end)
        .await;
    assert_eq!(changed.unwrap(), Changed::Absent);
    // A stale version of an absent link is no conflict.
    let deleted = store.delete(&name("a"), Some(Version(1)), &by(), end).await;
    assert_eq!(deleted.unwrap(), Deleted::Absent);
    let second = make(&*store, new("a", "1"), end).await;
    assert_eq!(second.created_at, UnixTime(end / SECOND));
    assert_eq!(second.expires_at, None);
    assert!(second.version > first.version);
    check_get(&*store, "a", Some(&second)).await;
}

async fn versions_grow_over_delete_reopening_and_a_clock_set_back(backend: &dyn Backend) {
    let mut highest = Version(0);
    let mut grown = |version: Version| {
        assert!(version > highest, "{version} after {highest}");
        highest = version;
    };
    // Each round runs a minute earlier than the one before.
    for round in 0..4 {
        let now = NOW - round * 60 * SECOND;
        let store = backend.open().await;
        grown(make(&*store, new("a", "1"), now).await.version);
        let change = store
            .change(&name("a"), None, Change::default(), &by(), now)
            .await;
        let Changed::Changed(link) = change.unwrap() else {
            panic!("not changed");
        };
        grown(link.version);
        grown(remove(&*store, "a", now).await);
        grown(make(&*store, new("a", "1"), now).await.version);
        grown(remove(&*store, "a", now).await);
        store.close().await;
    }
}

async fn versions_grow_over_expiry_and_a_clock_set_back(backend: &dyn Backend) {
    let store = backend.open().await;
    let first = make(&*store, ending("a", "1", 10 * SECOND), NOW).await;
    store.close().await;
    let store = backend.open().await;
    let second = make(&*store, ending("a", "2", 10 * SECOND), 10 * SECOND).await;
    assert!(second.version > first.version);
    let third = make(&*store, new("a", "3"), 10 * SECOND).await;
    assert!(third.version > second.version);
}

async fn change_is_partial(backend: &dyn Backend) {
    let store = backend.open().await;
    let mut expected = make(&*store, new("a", "1"), NOW).await;
    let mut check = async |change: Change, edit: fn(&mut Link)| {
        let before = expected.version;
        let changed = store
            .change(&name("a"), None, change, &by(), NOW)
            .await
            .unwrap();
        let Changed::Changed(link) = changed else {
            panic!("not changed: {changed:?}");
        };
        assert!(link.version > before);
        edit(&mut expected);
        expected.version = link.version;
        assert_eq!(link, expected);
        check_get(&*store, "a", Some(&expected)).await;
    };
    let end = Some(UnixTime(NOW / SECOND + 60));
    let target = |path| Change {
        target: Some(url(path)),
        ..Change::default()
    };
    let expires_at = |end| Change {
        expires_at: Some(end),
        ..Change::default()
    };
    let ttl = |ttl| Change {
        ttl: Some(ttl),
        ..Change::default()
    };
    check(target("2"), |link| link.target = url("2")).await;
    check(expires_at(end), |link| {
        link.expires_at = Some(UnixTime(NOW / SECOND + 60));
    })
    .await;
    check(ttl(Ttl::from_secs(0)), |link| link.ttl = Ttl::from_secs(0)).await;
    check(target("3"), |link| link.target = url("3")).await;
    check(expires_at(None), |link| link.expires_at = None).await;
    check(ttl(None), |link| link.ttl = None).await;
    check(Change::default(), |_| {}).await;
    let texts = |about| Change {
        about,
        ..Change::default()
    };
    let title = AboutChange {
        title: Some(Title::parse("Sale").ok()),
        ..AboutChange::default()
    };
    check(texts(title), |link| link.about = about("Sale", &[], "")).await;
    let rest = AboutChange {
        title: None,
        tags: Some(Tags::parse(["b", "a"]).unwrap()),
        note: Some(Note::parse("one\ntwo").ok()),
    };
    check(texts(rest), |link| {
        link.about = about("Sale", &["a", "b"], "one\ntwo");
    })
    .await;
    check(target("4"), |link| link.target = url("4")).await;
    let title = AboutChange {
        title: Some(None),
        ..AboutChange::default()
    };
    check(texts(title), |link| {
        link.about = about("", &["a", "b"], "one\ntwo");
    })
    .await;
    let rest = AboutChange {
        title: None,
        tags: Some(Tags::default()),
        note: Some(None),
    };
    check(texts(rest), |link| link.about = About::default()).await;
}

async fn change_and_delete_heed_the_expected_version(backend: &dyn Backend) {
    let store = backend.open().await;
    let first = make(&*store, new("a", "1"), NOW).await;
    let change = |path| Change {
        target: Some(url(path)),
        ..Change::default()
    };

    let wrong = Some(Version(first.version.0 - 1));
    let conflict = store
        .change(&name("a"), wrong, change("2"), &by(), NOW)
        .await;
    assert_eq!(conflict.unwrap(), Changed::Conflict(first.clone()));
    check_get(&*store, "a", Some(&first)).await;

    let right = Some(first.version);
    let changed = store
        .change(&name("a"), right, change("2"), &by(), NOW)
        .await;
    let Changed::Changed(second) = changed.unwrap() else {
        panic!("not changed");
    };
    let again = store
        .change(&name("a"), right, change("3"), &by(), NOW)
        .await;
    assert_eq!(again.unwrap(), Changed::Conflict(second.clone()));
    let stale = store.delete(&name("a"), right, &by(), NOW).await;
    assert_eq!(stale.unwrap(), Deleted::Conflict(second.clone()));
    check_get(&*store, "a", Some(&second)).await;

    let deleted = store
        .delete(&name("a"), Some(second.version), &by(), NOW)
        .await;
    let Deleted::Deleted(absence) = deleted.unwrap() else {
        panic!("not deleted");
    };
    assert!(absence > second.version);
    check_get(&*store, "a", None).await;
}

/// Runs `call` 50 times at once and gives all results.
async fn at_once<T, F>(store: &Arc<dyn Store>, call: impl Fn(Arc<dyn Store>, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let calls: Vec<_> = (0..50)
        .map(|i| tokio::spawn(call(Arc::clone(store), i)))
        .collect();
    let done = join_all(calls).await.into_iter();
    done.map(|result| result.unwrap().unwrap()).collect()
}

async fn of_concurrent_creates_one_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let same = at_once(&store, |store, _| async move {
        store.create(new("same", "1"), NOW).await
    })
    .await;
    let is_new = |created: &&Created| matches!(created, Created::New(_));
    assert_eq!(same.iter().filter(is_new).count(), 1);
    let is_same = |created: &&Created| matches!(created, Created::Same(_));
    assert_eq!(same.iter().filter(is_same).count(), 49);

    let each = at_once(&store, |store, i| async move {
        store.create(new("each", &i.to_string()), NOW).await
    })
    .await;
    let winner = each.iter().find(is_new).unwrap().clone();
    let Created::New(winner) = winner else {
        unreachable!()
    };
    assert_eq!(each.iter().filter(is_new).count(), 1);
    let lost = each.iter().filter(|created| !is_new(created));
    for created in lost {
        assert_eq!(*created, Created::Taken(winner.clone()));
    }
    check_get(&*store, "each", Some(&winner)).await;
}

async fn of_concurrent_changes_with_a_version_one_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    let expected = Some(make(&*store, new("a", "start"), NOW).await.version);
    let results = at_once(&store, |store, i| async move {
        let change = Change {
            target: Some(url(&i.to_string())),
            ..Change::default()
        };
        store.change(&name("a"), expected, change, &by(), NOW).await
    })
    .await;
    let mut winners = Vec::new();
    let mut losers = 0;
    for result in results {
        match result {
            Changed::Changed(link) => winners.push(link),
            Changed::Conflict(_) => losers += 1,
            Changed::Absent | Changed::Withheld(_) => panic!("the link is there"),
        }
    }
    assert_eq!((winners.len(), losers), (1, 49));
    check_get(&*store, "a", Some(&winners[0])).await;
}

async fn of_concurrent_deletes_one_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    let results = at_once(&store, |store, _| async move {
        store.delete(&name("a"), None, &by(), NOW).await
    })
    .await;
    let absent = results.iter().filter(|r| **r == Deleted::Absent).count();
    assert_eq!(absent, 49);
    check_get(&*store, "a", None).await;
}

async fn what_is_absent_is_absent(backend: &dyn Backend) {
    let store = backend.open().await;
    store.ping().await.unwrap();
    check_get(&*store, "a", None).await;
    let change = store
        .change(&name("a"), None, Change::default(), &by(), NOW)
        .await;
    assert_eq!(change.unwrap(), Changed::Absent);
    let some = Some(Version(1));
    let change = store
        .change(&name("a"), some, Change::default(), &by(), NOW)
        .await;
    assert_eq!(change.unwrap(), Changed::Absent);
    let delete = store.delete(&name("a"), None, &by(), NOW).await.unwrap();
    assert_eq!(delete, Deleted::Absent);
    check_get(&*store, "a", None).await;
}

async fn reopening_keeps_every_field(backend: &dyn Backend) {
    let store = backend.open().await;
    let plain = make(&*store, new("plain", "1"), NOW).await;
    let rich = NewLink {
        ttl: Ttl::from_secs(20),
        about: about("Sale", &["print", "2026"], "one\ntwo"),
        ..ending("rich", "2", NOW + SECOND)
    };
    let rich = make(&*store, rich, NOW).await;
    make(&*store, new("gone", "3"), NOW).await;
    remove(&*store, "gone", NOW).await;
    store.close().await;

    let store = backend.open().await;
    check_get(&*store, "plain", Some(&plain)).await;
    check_get(&*store, "rich", Some(&rich)).await;
    check_get(&*store, "gone", None).await;
}

async fn a_closed_store_says_so(backend: &dyn Backend) {
    let store = backend.open().await;
    make(&*store, new("a", "1"), NOW).await;
    store.close().await;
    store.close().await;
    let unavailable = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    assert!(unavailable(store.ping().await.unwrap_err()));
    assert!(unavailable(store.get(&name("a")).await.unwrap_err()));
    let create = store.create(new("b", "1"), NOW).await;
    assert!(unavailable(create.unwrap_err()));
    assert!(unavailable(store.document("k").await.unwrap_err()));
    let put = store.put_document("k", None, Vec::new()).await;
    assert!(unavailable(put.unwrap_err()));
}
