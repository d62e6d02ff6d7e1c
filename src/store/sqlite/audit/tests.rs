use super::*;
use crate::link::{TargetUrl, Ttl};
use crate::store::sqlite::change;
use crate::store::sqlite::testing::{conn, made, name, new};
use crate::store::{Change, Changed, Deleted};

const LOG: Log = Log {
    retention: Some(Retention {
        keep: 100,
        max_entries: 1_000,
    }),
};
const SECOND: u64 = 1_000_000;

fn all(conn: &Connection) -> Vec<Entry> {
    let limit = usize::MAX;
    page(
        conn,
        &AuditQuery {
            limit,
            ..AuditQuery::default()
        },
    )
    .unwrap()
    .entries
}

fn event(number: u64, action: Action) -> Event {
    Event {
        at: UnixMillis(number),
        actor: Actor {
            address: Some([192, 0, 2, 7].into()),
            request_id: Some("id-1".into()),
            ..Actor::from("ann")
        },
        action,
        object: Object::Link(name(&format!("c{}", number % 10))),
        before: None,
        after: None,
    }
}

fn count(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))
        .unwrap()
}

#[test]
fn each_change_of_a_link_has_one_entry_with_the_link_before_and_after() {
    let conn = conn();
    let by = Actor {
        address: Some("2001:db8::1".parse().unwrap()),
        request_id: Some("id-1".into()),
        ..Actor::from("ann")
    };
    let mut wanted = new("a", "1", None);
    wanted.created_by = by.clone();
    made(change::create(&conn, LOG, wanted.clone(), SECOND).unwrap());
    // Nothing is changed here, so there is no entry.
    change::create(&conn, LOG, wanted, SECOND).unwrap();
    let edit = Change {
        target: Some(TargetUrl::parse("https://example.net/2").unwrap()),
        expires_at: Some(Some(UnixTime(60))),
        ttl: Some(Ttl::from_secs(5)),
        ..Change::default()
    };
    let stale = change::change(
        &conn,
        LOG,
        &name("a"),
        (Some(crate::link::Version(7)), edit.clone()),
        (&by, SECOND),
    );
    assert!(matches!(stale.unwrap(), Changed::Conflict(_)));
    let edited = change::change(
        &conn,
        LOG,
        &name("a"),
        (None, edit),
        (&"bob".into(), 2 * SECOND + 1_234),
    );
    assert!(matches!(edited.unwrap(), Changed::Changed(_)));
    let deleted = change::delete(&conn, LOG, &name("a"), None, (&by, 3 * SECOND));
    assert!(matches!(deleted.unwrap(), Deleted::Deleted(_)));
    let absent = change::delete(&conn, LOG, &name("a"), None, (&by, 3 * SECOND));
    assert_eq!(absent.unwrap(), Deleted::Absent);

    let first = r#"{"url":"https://example.net/1","expires_at":null,"ttl":null}"#;
    let second = r#"{"url":"https://example.net/2","expires_at":"1970-01-01T00:01:00Z","ttl":5}"#;
    let entry = |number, at, by: &Actor, action, before: Option<&str>, after: Option<&str>| {
        let facts = |text: Option<&str>| text.map(|text| Facts::read(text).unwrap());
        let event = Event {
            at: UnixMillis(at),
            actor: by.clone(),
            action,
            object: Object::Link(name("a")),
            before: facts(before),
            after: facts(after),
        };
        let id = EntryId {
            at: UnixMillis(at),
            number,
        };
        Entry { id, event }
    };
    let expected = [
        entry(3, 3_000, &by, Action::LinkDeleted, Some(second), None),
        entry(
            2,
            2_001,
            &"bob".into(),
            Action::LinkChanged,
            Some(first),
            Some(second),
        ),
        entry(1, 1_000, &by, Action::LinkCreated, None, Some(first)),
    ];
    assert_eq!(all(&conn), expected);
}

#[test]
fn without_a_log_changes_have_no_entries() {
    let conn = conn();
    let off = Log { retention: None };
    made(change::create(&conn, off, new("a", "1", None), SECOND).unwrap());
    assert_eq!(all(&conn), []);
}

#[test]
fn pages_follow_each_other_without_gap_or_repetition_also_within_a_millisecond() {
    let conn = conn();
    let mut expected = Vec::new();
    for number in 0..97 {
        // Seven entries have the same time, and the clock goes back once.
        let at = if number < 50 {
            number / 7
        } else {
            number / 7 - 3
        };
        insert(&conn, &event(at, Action::LinkCreated)).unwrap();
        expected.push((at, number + 1));
    }
    expected.sort_unstable();
    expected.reverse();
    for limit in [1, 2, 7, 50, 97, 1_000] {
        let mut query = AuditQuery {
            limit,
            ..AuditQuery::default()
        };
        let mut found = Vec::new();
        loop {
            let page = page(&conn, &query).unwrap();
            assert!(page.entries.len() <= limit);
            found.extend(
                page.entries
                    .iter()
                    .map(|entry| (entry.id.at.0, entry.id.number)),
            );
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
}

#[test]
fn filters_take_what_they_name() {
    let conn = conn();
    for number in 0..40 {
        let mut event = event(number, Action::ALL[number as usize % 3]);
        if number % 4 == 0 {
            event.actor.name = "bob".into();
        }
        if number % 5 == 0 {
            event.object = Object::Token("x".into());
        }
        insert(&conn, &event).unwrap();
    }
    let check = |query: AuditQuery, takes: &dyn Fn(u64) -> bool| {
        let query = AuditQuery {
            limit: 1_000,
            ..query
        };
        let found: Vec<u64> = page(&conn, &query)
            .unwrap()
            .entries
            .iter()
            .map(|e| e.id.at.0)
            .collect();
        let expected: Vec<u64> = (0..40).rev().filter(|number| takes(*number)).collect();
        assert_eq!(found, expected, "{query:?}");
    };
    let none = AuditQuery::default;
    check(none(), &|_| true);
    check(
        AuditQuery {
            actor: Some("bob".into()),
            ..none()
        },
        &|n| n % 4 == 0,
    );
    check(
        AuditQuery {
            actor: Some("bo".into()),
            ..none()
        },
        &|_| false,
    );
    check(
        AuditQuery {
            action: Some(Action::LinkDeleted),
            ..none()
        },
        &|n| n % 3 == 2,
    );
    check(
        AuditQuery {
            zone: Some("s.example.com".into()),
            ..none()
        },
        &|n| n % 5 != 0,
    );
    check(
        AuditQuery {
            code: Some("c3".into()),
            ..none()
        },
        &|n| n % 10 == 3,
    );
    check(
        AuditQuery {
            code: Some("c4".into()),
            actor: Some("bob".into()),
            ..none()
        },
        &|n| n % 20 == 4,
    );
    let deleted = AuditQuery {
        action: Some(Action::LinkDeleted),
        actor: Some("bob".into()),
        zone: Some("s.example.com".into()),
        ..none()
    };
    check(deleted, &|n| n % 3 == 2 && n % 4 == 0 && n % 5 != 0);
    let times = AuditQuery {
        since: Some(UnixMillis(10)),
        until: Some(UnixMillis(20)),
        ..none()
    };
    check(times, &|n| (10..20).contains(&n));
    let all = AuditQuery {
        actor: Some("ann".into()),
        action: Some(Action::LinkCreated),
        since: Some(UnixMillis(3)),
        ..none()
    };
    check(all, &|n| n % 4 != 0 && n % 3 == 0 && n >= 3);
}

#[test]
fn a_page_looks_at_a_bounded_number_of_rows() {
    let conn = conn();
    let total = MAX_LOOKED_AT as u64 + 10;
    for number in 0..total {
        let mut event = event(number, Action::LinkCreated);
        if number == 0 {
            event.object = Object::Certificate("t.example.com".into());
        }
        insert(&conn, &event).unwrap();
    }
    let mut query = AuditQuery {
        zone: Some("t.example.com".into()),
        limit: 10,
        ..AuditQuery::default()
    };
    let first = page(&conn, &query).unwrap();
    assert_eq!(first.entries, []);
    assert_eq!(first.next.map(|id| id.at), Some(UnixMillis(10)));
    query.after = first.next;
    let second = page(&conn, &query).unwrap();
    assert_eq!((second.entries.len(), second.next), (1, None));
}

/// However many other entries there are.
#[test]
fn a_rare_action_is_on_the_first_page() {
    let conn = conn();
    for number in 0..MAX_LOOKED_AT as u64 + 10 {
        let action = match number {
            0 => Action::TokenRevoked,
            _ => Action::LinkCreated,
        };
        insert(&conn, &event(number, action)).unwrap();
    }
    for (action, found) in [(Action::TokenRevoked, 1), (Action::LinkDeleted, 0)] {
        for actor in [None, Some("ann".into())] {
            let query = AuditQuery {
                action: Some(action),
                actor,
                limit: 10,
                ..AuditQuery::default()
            };
            let page = page(&conn, &query).unwrap();
            assert_eq!((page.entries.len(), page.next), (found, None), "{query:?}");
        }
    }
}

#[test]
fn pages_are_ranges_of_indexes() {
    let conn = conn();
    for (sql, index) in [
        (BY_TIME, "audit_time (at>? AND at<?)"),
        (BY_ACTOR, "audit_actor (actor=? AND at>? AND at<?)"),
        (BY_ACTION, "audit_action (action=? AND at>? AND at<?)"),
        (BY_CODE, "audit_code (code=? AND at>? AND at<?)"),
    ] {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let parameters = vec!["1"; statement.parameter_count()];
        let plan: Vec<String> = statement
            .query_map(rusqlite::params_from_iter(parameters), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let plan = plan.join("\n");
        assert!(plan.contains(&format!("INDEX {index}")), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn old_and_surplus_entries_are_removed_in_steps() {
    let mut conn = conn();
    let fill = |conn: &Connection, times: std::ops::Range<u64>| {
        for at in times {
            insert(conn, &event(at * 1_000, Action::LinkCreated)).unwrap();
        }
    };
    let check = |conn: &mut Connection, now: u64, more: bool, left: i64| {
        assert_eq!(LOG.prune(conn, UnixTime(now)).unwrap(), more, "at {now}");
        assert_eq!(count(conn), left, "at {now}");
    };
    check(&mut conn, 0, false, 0);
    // By age.
    fill(&conn, 0..900);
    check(&mut conn, 100, false, 900);
    check(&mut conn, 101, false, 899);
    check(&mut conn, 1_000, true, 399);
    check(&mut conn, 1_000, false, 0);
    // By number.
    fill(&conn, 1_000..2_700);
    check(&mut conn, 1_000, true, 1_200);
    check(&mut conn, 1_000, false, 1_000);
    check(&mut conn, 1_000, false, 1_000);
    assert_eq!(all(&conn).last().unwrap().id.at, UnixMillis(1_700_000));
    // An entry from the future, from before the clock was set back, is no obstacle for ever.
    check(&mut conn, u64::MAX / 2_000, true, 500);
}

#[test]
fn what_is_left_of_a_log_that_was_turned_off_is_pruned_too() {
    let mut conn = conn();
    insert(&conn, &event(0, Action::LinkCreated)).unwrap();
    let off = Log { retention: None };
    let age = u64::from(Retention::DEFAULT_DAYS) * 86_400;
    assert!(!off.prune(&mut conn, UnixTime(age)).unwrap());
    assert_eq!(count(&conn), 1);
    assert!(!off.prune(&mut conn, UnixTime(age + 1)).unwrap());
    assert_eq!(count(&conn), 0);
}

#[test]
fn a_damaged_entry_is_left_out_and_hides_no_other() {
    let conn = conn();
    for number in 0..7 {
        insert(&conn, &event(number, Action::LinkCreated)).unwrap();
    }
    for (id, damage) in [
        (2, "action = 'link.eaten'"),
        (3, "address = 'here'"),
        (4, "after = '[]'"),
        (5, "zone = NULL"),
        (6, "code = 'a.b'"),
    ] {
        conn.execute(&format!("UPDATE audit SET {damage} WHERE id = {id}"), [])
            .unwrap();
    }
    let found: Vec<u64> = all(&conn).iter().map(|entry| entry.id.number).collect();
    assert_eq!(found, [7, 1]);
}
