use super::*;
use crate::link::{About, Origin, Tag, Tags, TargetUrl, Title, Withheld};
use crate::store::sqlite::change;
use crate::store::sqlite::indexing::index_piece;
use crate::store::sqlite::testing::{LOG, conn, made, name, new};
use crate::store::{Change, NewLink, SearchText, State};

const SECOND: u64 = 1_000_000;

fn query() -> Query {
    Query::all(Origin::parse("s.example.com").unwrap())
}

/// A link made in that second.
fn make(conn: &Connection, code: &str, second: u64, edit: impl FnOnce(&mut NewLink)) {
    let mut new = new(code, code, None);
    edit(&mut new);
    made(change::create(conn, LOG, new, second * SECOND).unwrap());
}

/// Bounds that few links exceed.
const NARROW: Bounds = Bounds {
    candidates: 20,
    rows: 30,
    entries: 250,
    ..PATIENT
};

/// The bounds without those of the time, so that a slow machine finds the same on each page.
const PATIENT: Bounds = Bounds {
    search_time: Duration::from_secs(3_600),
    page_time: Duration::from_secs(3_600),
    ..BOUNDS
};

/// The codes on all pages.
fn codes(conn: &Connection, query: &Query, limit: usize) -> Vec<String> {
    codes_within(conn, query, limit, BOUNDS)
}

fn codes_within(conn: &Connection, query: &Query, limit: usize, bounds: Bounds) -> Vec<String> {
    let mut codes = Vec::new();
    let mut after = None;
    loop {
        let page = find_within(conn, query, after.as_ref(), (limit, bounds)).unwrap();
        assert!(page.links.len() <= limit);
        codes.extend(page.links.iter().map(|link| link.name.code().to_owned()));
        match page.next {
            Some(next) => assert_ne!(after.replace(next.clone()), Some(next)),
            None => return codes,
        }
    }
}

/// All filters alone and together, in all orders, before and after the links are in the text index.
#[test]
fn lists_are_those_of_a_plain_comparison() {
    let mut conn = conn();
    let mut links = Vec::new();
    for n in 0..300_u64 {
        let code = format!("c{:03}", n * 7 % 300);
        make(&conn, &code, n / 3, |new| {
            let host = ["one.example", "two.example", "[2001:db8::1]:8080"][(n % 3) as usize];
            new.target = TargetUrl::parse(&format!("https://{host}/Path/{code}%25")).unwrap();
            new.created_by = ["ann", "bob"][(n % 2) as usize].into();
            new.expires_at = (n % 5 == 0).then_some(UnixTime(200));
            let title = Title::parse(&format!("Title ÄÖ {}", n % 10)).ok();
            let tags = [["x", "even"], ["x", "odd"]][(n % 2) as usize];
            new.about = About::new(title, Tags::parse(tags).unwrap(), None);
            new.withheld =
                (n % 7 == 3).then(|| Withheld::parse("abuse", "a reason", None).unwrap().into());
        });
        links.push(
            crate::store::sqlite::reader::get(&conn, &name(&code))
                .unwrap()
                .unwrap(),
        );
    }
    let check_all = |conn: &Connection| {
        let texts = [
            "",
            "c01",
            "PATH/C2",
            "äö 7",
            "%",
            "_",
            "\"x\"",
            "no such text",
            "1",
            "25",
            "Ö 9",
            " 9",
            "ÖÖ",
        ];
        for text in texts {
            for (tag, host, creator) in [
                ("", "", ""),
                ("even", "", ""),
                ("", "two.example", "ann"),
                ("x", "[2001:db8::1]", "bob"),
                ("odd", "", "ann"),
                ("even", "one.example", ""),
                ("none", "", "ann"),
            ] {
                for state in [
                    None,
                    Some(State::Current),
                    Some(State::Live),
                    Some(State::Withheld),
                    Some(State::Ended),
                ] {
                    for order in [Order::Code, Order::Newest, Order::Oldest] {
                        let query = Query {
                            text: SearchText::parse(text).ok(),
                            tag: Tag::parse(tag).ok(),
                            host: TargetUrl::host_of(host).map(Into::into),
                            created_by: (!creator.is_empty()).then(|| creator.into()),
                            state,
                            order,
                            now: UnixTime(250),
                            ..query()
                        };
                        let mut expected: Vec<_> =
                            links.iter().filter(|link| query.matches(link)).collect();
                        expected.sort_by_key(|link| match order {
                            Order::Code => (0, link.name.code()),
                            _ => (link.created_at.0, link.name.code()),
                        });
                        if order == Order::Newest {
                            expected.reverse();
                        }
                        let expected: Vec<_> =
                            expected.into_iter().map(|link| link.name.code()).collect();
                        for bounds in [PATIENT, NARROW] {
                            let found = codes_within(conn, &query, 17, bounds);
                            assert_eq!(found, expected, "{query:?} {bounds:?}");
                        }
                    }
                }
            }
        }
    };
    check_all(&conn);
    while index_piece(&mut conn).unwrap() {}
    let left: i64 = conn
        .query_row("SELECT count(*) FROM link_todo", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
    check_all(&conn);
}

#[test]
fn the_text_index_follows_changes() {
    let mut conn = conn();
    make(&conn, "a", 1, |_| {});
    make(&conn, "b", 1, |_| {});
    while index_piece(&mut conn).unwrap() {}
    let search = |conn: &Connection, text: &str| {
        let text = SearchText::parse(text).ok();
        codes(conn, &Query { text, ..query() }, 10)
    };
    assert_eq!(search(&conn, "example.net/a"), ["a"]);
    let target = TargetUrl::parse("https://other.example/").ok();
    let edit = Change {
        target,
        ..Change::default()
    };
    let by = "me".into();
    change::change(&conn, LOG, &name("a"), (None, edit), (&by, 2 * SECOND)).unwrap();
    change::delete(&conn, LOG, &name("b"), None, (&by, 2 * SECOND)).unwrap();
    for _ in 0..2 {
        assert_eq!(search(&conn, "example.net"), [""; 0]);
        assert_eq!(search(&conn, "OTHER"), ["a"]);
        while index_piece(&mut conn).unwrap() {}
    }
    // Its number is that of the deleted link.
    make(&conn, "again", 3, |_| {});
    assert_eq!(search(&conn, "net/b"), [""; 0]);
    assert_eq!(search(&conn, "again"), ["again"]);
    while index_piece(&mut conn).unwrap() {}
    assert_eq!(search(&conn, "again"), ["again"]);
    let entries: i64 = conn
        .query_row("SELECT count(*) FROM link_text_docsize", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(entries, 2);
}

/// Another program uses no statement of ours.
#[test]
fn links_of_other_programs_are_found() {
    let mut conn = conn();
    let put = "INSERT OR REPLACE INTO link (origin, code, url, created_at, created_by, version, tags) \
        VALUES ('s.example.com', 'x', ?1, 5, 'shell', 1, ?2)";
    let found = |conn: &Connection, text: &str, tag: &str| {
        let query = Query {
            text: SearchText::parse(text).ok(),
            tag: Tag::parse(tag).ok(),
            ..query()
        };
        codes(conn, &query, 10)
    };
    for (url, tags) in [
        ("https://one.example/", "[\"a\"]"),
        ("https://two.example/", "[\"b\", 7]"),
    ] {
        conn.execute(put, (url, tags)).unwrap();
        while index_piece(&mut conn).unwrap() {}
    }
    assert_eq!(found(&conn, "two.example", ""), ["x"]);
    assert_eq!(found(&conn, "one.example", ""), [""; 0]);
    let at = |conn: &Connection, host: &str| {
        let host = Some(host.into());
        codes(conn, &Query { host, ..query() }, 10)
    };
    assert_eq!(at(&conn, "two.example"), ["x"]);
    assert_eq!(at(&conn, "one.example"), [""; 0]);
    assert_eq!(found(&conn, "", "a"), [""; 0]);
    conn.execute("UPDATE link SET tags = 'not JSON'", [])
        .unwrap();
    assert_eq!(found(&conn, "", "b"), [""; 0]);
    conn.execute("UPDATE link SET tags = '[\"c\"]', code = 'y'", [])
        .unwrap();
    assert_eq!(found(&conn, "", "c"), ["y"]);
    assert_eq!(at(&conn, "two.example"), ["y"]);
    conn.execute("UPDATE link SET url = 'https://[::1]:8/'", [])
        .unwrap();
    assert_eq!(at(&conn, "two.example"), [""; 0]);
    assert_eq!(at(&conn, "[::1]"), ["y"]);
    conn.execute("DELETE FROM link", []).unwrap();
    assert_eq!(found(&conn, "", "c"), [""; 0]);
    let left: i64 = conn
        .query_row("SELECT count(*) FROM link_tag WHERE tag = 'c'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(left, 0);
    assert_eq!(at(&conn, "[::1]"), [""; 0]);
}

/// The former row goes without its triggers, so its entries stay in the tables of tags and hosts.
#[test]
fn a_link_that_another_program_has_replaced_is_listed_once() {
    let conn = conn();
    for second in [5, 9] {
        let put = "INSERT OR REPLACE INTO link (origin, code, url, created_at, created_by, version, tags) \
            VALUES ('s.example.com', 'x', 'https://one.example/', ?1, 'shell', 1, '[\"a\"]')";
        conn.execute(put, [second]).unwrap();
    }
    for bounds in [
        PATIENT,
        Bounds {
            candidates: 0,
            ..PATIENT
        },
    ] {
        for order in [Order::Code, Order::Newest, Order::Oldest] {
            let list = |tag: &str, host: Option<&str>| {
                let query = Query {
                    tag: Tag::parse(tag).ok(),
                    host: host.map(Into::into),
                    order,
                    ..query()
                };
                codes_within(&conn, &query, 10, bounds)
            };
            assert_eq!(list("a", None), ["x"], "{order:?}");
            assert_eq!(list("", Some("one.example")), ["x"], "{order:?}");
            assert_eq!(list("a", Some("one.example")), ["x"], "{order:?}");
        }
    }
}

#[test]
fn a_page_of_many_links_that_do_not_fit_ends_early() {
    let conn = conn();
    let rows = 2 * BOUNDS.rows as i64 + 10;
    let put = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1) \
        INSERT INTO link (origin, code, url, created_at, created_by, version) \
        SELECT 's.example.com', printf('c%06d', n), 'https://example.net/', n, 'me', 1 FROM n";
    conn.execute(put, [rows]).unwrap();
    let text = SearchText::parse("zz").ok();
    for order in [Order::Code, Order::Newest, Order::Oldest] {
        let query = Query {
            text: text.clone(),
            order,
            ..query()
        };
        let mut after = None;
        let mut pages = 0;
        loop {
            let page = find_within(&conn, &query, after.as_ref(), (10, PATIENT)).unwrap();
            assert_eq!(page.links, []);
            pages += 1;
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(pages, 3, "{order:?}");
    }
}

/// One or two characters: no page is looked through for what no link has.
#[test]
fn short_texts_are_found_by_the_index() {
    let mut conn = conn();
    for n in 0..100 {
        make(&conn, &format!("c{n:02}"), n, |new| {
            new.about = About::new(Title::parse("市の東京").ok(), Tags::default(), None);
        });
    }
    make(&conn, "last", 50, |new| {
        new.about = About::new(Title::parse("Big 日京").ok(), Tags::default(), None);
    });
    while index_piece(&mut conn).unwrap() {}
    let check = |text: &str, expected: &[&str]| {
        let query = Query {
            text: SearchText::parse(text).ok(),
            order: Order::Newest,
            ..query()
        };
        let page = find_within(&conn, &query, None, (10, NARROW)).unwrap();
        let codes: Vec<_> = page.links.iter().map(|link| link.name.code()).collect();
        assert_eq!((&*codes, page.next), (expected, None), "{text:?}");
    };
    check("zq", &[]);
    check("_", &[]);
    check("日", &["last"]);
    check("日京", &["last"]);
    check("IG", &["last"]);
    check("京日", &[]);
    // The ends of a code, of a URL and of a title.
    check("st", &["last"]);
    check("/c77", &["c77"]);
    check("77", &["c77"]);
}

/// Each of two filters fits many links, and few fit both.
#[test]
fn links_that_two_filters_leave_are_found_without_reading_others() {
    let conn = conn();
    for n in 0..200_u64 {
        make(&conn, &format!("c{n:03}"), n / 2, |new| {
            new.created_by = ["ann", "bob"][(n % 2) as usize].into();
            let tag = if n % 2 == 0 || n == 177 {
                "even"
            } else {
                "odd"
            };
            new.about = About::new(None, Tags::parse([tag]).unwrap(), None);
        });
    }
    let bounds = Bounds {
        candidates: 10,
        rows: 3,
        entries: 1_000,
        ..PATIENT
    };
    for order in [Order::Code, Order::Newest, Order::Oldest] {
        let query = Query {
            tag: Tag::parse("even").ok(),
            created_by: Some("bob".into()),
            order,
            ..query()
        };
        let page = find_within(&conn, &query, None, (10, bounds)).unwrap();
        let codes: Vec<_> = page.links.iter().map(|link| link.name.code()).collect();
        assert_eq!((&*codes, page.next), (&["c177"][..], None), "{order:?}");
    }
}

#[test]
fn searches_use_the_indexes() {
    let conn = conn();
    let plan = |sql: &str| {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let none = [None::<i64>; 5];
        let count = statement.parameter_count();
        let rows = statement.query_map(rusqlite::params_from_iter(&none[..count]), |row| {
            row.get::<_, String>(3)
        });
        rows.unwrap()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
            .join("\n")
    };
    for sql in statements() {
        let plan = plan(sql);
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        let is_scan = plan
            .lines()
            .any(|line| line.starts_with("SCAN link ") || line == "SCAN link");
        assert!(!is_scan, "{sql}\n{plan}");
    }
    // Entries of indexes alone, without the rows that they belong to. Few links are withheld.
    let candidates = candidates::STATEMENTS.iter();
    let candidates = candidates.filter(|sql| !sql.contains("link_withheld"));
    for sql in candidates.chain(meet::STATEMENTS.iter().flatten()) {
        let plan = plan(sql);
        let is_alone = plan.contains("COVERING INDEX") || plan.contains("USING PRIMARY KEY");
        assert!(is_alone && !plan.contains("<expr>"), "{sql}\n{plan}");
    }
    for way in [Way::Tag, Way::Host, Way::Creator, Way::Zone] {
        let plan = plan(way.sql(Order::Newest).unwrap());
        assert!(
            plan.contains("created_at") && plan.contains("<(?,?)"),
            "{plan}"
        );
    }
}
