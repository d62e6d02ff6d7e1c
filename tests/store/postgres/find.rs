//! Lists of many links: by the indexes and the text index, also while these are not ready.

use std::time::Instant;

use tinyns::base::clock::UnixTime;
use tinyns::link::{Link, Tag};
use tinyns::store::{Order, PostgresStore, Query, SearchText, State, Store};

use super::super::find::find_all;
use super::super::{NOW, SECOND, ZONE, make, name, new, origin, remove};
use super::*;
use crate::harness::PATIENCE;

/// The time of lists: a third of the links that end have ended. Not in the past, because the store removes such links.
const LISTED: u64 = 4_100_000_300;

/// Adds links as another program does. There are some of each kind, and one of each rare kind.
fn fill(server: &Postgres, from: u32, to: u32) {
    server.psql(&format!(
        r#"INSERT INTO tinyns.link (origin, code, url, created_at, created_by, expires_at, title, tags, withheld)
        SELECT CASE WHEN n % 10 = 9 THEN 'other.example' ELSE '{ZONE}' END, 'c' || n * 7919 % 1000003,
          'https://' || (array['one.example', 'WWW.two.example:8443', '[2001:db8::1]', 'three.example.'])[n % 4 + 1]
            || '/Path/' || n % 1000 || '?x=100%25_' || n,
          1700000000 + n / 3, (array['ann', 'bob', 'Ünal'])[n % 3 + 1],
          CASE WHEN n % 50 = 3 THEN 4100000000 + n % 900 END,
          CASE n % 7 WHEN 0 THEN 'Größe ' || n % 90 WHEN 1 THEN '東京' || n % 30 || '都' WHEN 2 THEN 'ΟΔΟΣ K İ' END,
          CASE n % 5 WHEN 0 THEN '["even", "all"]'::jsonb WHEN 1 THEN '["all"]' WHEN 2 THEN '"no list"' END,
          CASE WHEN n % 400 = 7 THEN '{{"kind": "abuse", "reason": "Phishing"}}' END
        FROM generate_series({from}, {to}) AS n"#
    ));
}

async fn opened(server: &Postgres) -> PostgresStore {
    postgres::open(&postgres::config(&server.url()))
        .await
        .unwrap()
}

/// Waits until a query returns true.
fn wait_for(server: &Postgres, sql: &str) {
    let end = Instant::now() + PATIENCE;
    while server.psql(sql) != "t" {
        assert!(Instant::now() < end, "{sql}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until all indexes can be used, and all links are in the text index.
fn wait_for_indexes(server: &Postgres) {
    wait_for(
        server,
        "SELECT count(*) = 4 FROM pg_index WHERE indisvalid AND indexrelid IN (to_regclass('tinyns.link_tags'), \
         to_regclass('tinyns.link_host'), to_regclass('tinyns.link_creator'), to_regclass('tinyns.link_withheld'))",
    );
    wait_for(
        server,
        "SELECT code IS NULL AND NOT EXISTS (SELECT FROM tinyns.change c WHERE c.txid > i.txid \
         OR c.txid = i.txid AND c.seq > i.seq) FROM tinyns.text_index i",
    );
}

/// All links of the zone, by a plain walk.
async fn links(store: &dyn Store) -> Vec<Link> {
    let (mut links, mut after) = (Vec::new(), None);
    loop {
        let page = store
            .list(&origin(ZONE), after.as_ref(), 1_000)
            .await
            .unwrap();
        links.extend(page.links);
        match page.next {
            Some(next) => after = Some(next),
            None => return links,
        }
    }
}

fn one_of<'a>(random: &mut fastrand::Rng, values: &[&'a str]) -> &'a str {
    values[random.usize(..values.len())]
}

fn any_query(random: &mut fastrand::Rng) -> Query {
    let texts = [
        "",
        "",
        "größe 8",
        "GRÖSSE",
        "京",
        "東京2",
        "京1",
        "100%25_77",
        "_4",
        "c12",
        "path/99",
        "two.EXAMPLE:84",
        "οδος",
        "οδο",
        "k i",
        "i̇",
        "/path/123?x=100%25_",
        "no such text",
        "ß",
        "les",
    ];
    let states = [
        None,
        None,
        Some(State::Current),
        Some(State::Live),
        Some(State::Withheld),
        Some(State::Ended),
    ];
    let creator = one_of(random, &["", "", "ann", "Ünal", "nobody"]);
    let host = one_of(
        random,
        &[
            "",
            "",
            "one.example",
            "www.two.example",
            "[2001:db8::1]",
            "three.example",
            "x.example",
        ],
    );
    Query {
        text: SearchText::parse(one_of(random, &texts)).ok(),
        tag: Tag::parse(one_of(random, &["", "", "even", "all", "list", "none"])).ok(),
        host: (!host.is_empty()).then(|| host.into()),
        created_by: (!creator.is_empty()).then(|| creator.into()),
        state: states[random.usize(..states.len())],
        order: [Order::Code, Order::Newest, Order::Oldest][random.usize(..3)],
        now: UnixTime(LISTED),
        ..Query::all(origin(ZONE))
    }
}

/// The codes of the links that fit, in the order of the query.
fn expected<'a>(links: &'a [Link], query: &Query) -> Vec<&'a str> {
    let mut fit: Vec<&Link> = links.iter().filter(|link| query.matches(link)).collect();
    fit.sort_by_key(|link| match query.order {
        Order::Code => (0, link.name.code()),
        Order::Newest | Order::Oldest => (link.created_at.0, link.name.code()),
    });
    if query.order == Order::Newest {
        fit.reverse();
    }
    fit.iter().map(|link| link.name.code()).collect()
}

async fn check_random(store: &dyn Store, random: &mut fastrand::Rng, times: usize) {
    let links = links(store).await;
    for _ in 0..times {
        let query = any_query(random);
        let limit = random.usize(1..400);
        let found = find_all(store, &query, limit).await;
        assert_eq!(found, expected(&links, &query), "{query:?} by {limit}");
    }
}

/// Before the indexes are there, with changes that are not in the text index yet, and after all of them are.
#[tokio::test(flavor = "multi_thread")]
async fn random_lists_are_those_of_a_plain_comparison() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let random = &mut fastrand::Rng::with_seed(seed);
    let server = Postgres::start();
    let store = opened(&server).await;
    fill(&server, 1, 6_000);
    check_random(&store, random, 40).await;
    wait_for_indexes(&server);
    for round in 0..5 {
        fill(&server, 6_001 + round * 200, 6_200 + round * 200);
        server.psql(&format!(
            "UPDATE tinyns.link SET title = 'Größe 8 ' || code WHERE created_at % 40 = {round}; \
             UPDATE tinyns.link SET url = 'https://x.example/' || code, tags = '[\"none\"]' WHERE created_at % 40 = 10 + {round}; \
             DELETE FROM tinyns.link WHERE created_at % 40 = 20 + {round}"
        ));
        check_random(&store, random, 40).await;
    }
    wait_for_indexes(&server);
    check_random(&store, random, 80).await;
}

/// The links behind 60,000 others, which a page does not walk through.
#[tokio::test(flavor = "multi_thread")]
async fn a_rare_link_is_on_the_first_page() {
    let server = Postgres::start();
    fill_rare(&server).await;
    let store = opened(&server).await;
    wait_for_indexes(&server);
    server.psql("ANALYZE tinyns.link; ANALYZE tinyns.link_text");
    let all = || Query {
        order: Order::Oldest,
        now: UnixTime(LISTED),
        ..Query::all(origin(ZONE))
    };
    let rare = [
        Query {
            tag: Tag::parse("rare").ok(),
            ..all()
        },
        Query {
            host: Some("rare.example".into()),
            ..all()
        },
        Query {
            created_by: Some("rarely".into()),
            ..all()
        },
        Query {
            text: SearchText::parse("Zwetschgen").ok(),
            ..all()
        },
        Query {
            text: SearchText::parse("京都").ok(),
            ..all()
        },
        Query {
            state: Some(State::Withheld),
            // Before it ends.
            now: UnixTime(4_000_000_000),
            ..all()
        },
        Query {
            state: Some(State::Ended),
            ..all()
        },
        Query {
            tag: Tag::parse("rare").ok(),
            text: SearchText::parse("example").ok(),
            ..all()
        },
        Query {
            text: SearchText::parse("zwetschgenmus").ok(),
            created_by: Some("rarely".into()),
            ..all()
        },
    ];
    for query in rare {
        for order in [Order::Oldest, Order::Code] {
            let query = Query {
                order,
                ..query.clone()
            };
            let codes = first_page(&store, &query).await;
            assert_eq!(codes, ["zz-rare"], "{query:?}");
        }
    }
    // A link that is not in the text index yet.
    let link = make(&store, new("zz-new", "Mirabellen"), NOW * 2).await;
    let query = Query {
        text: SearchText::parse("mirabellen").ok(),
        ..all()
    };
    assert_eq!(first_page(&store, &query).await, [link.name.code()]);
    remove(&store, "zz-new", NOW * 2 + SECOND).await;
    assert_eq!(first_page(&store, &query).await, [""; 0]);
}

async fn fill_rare(server: &Postgres) {
    // The tables, without a server that fills the text index.
    opened(server).await.close().await;
    server.psql(&format!(
        r#"INSERT INTO tinyns.link (origin, code, url, created_at, created_by)
        SELECT '{ZONE}', 'c' || n, 'https://www.example.net/' || n, 1700000000 + n, 'ann' FROM generate_series(1, 60000) AS n;
        INSERT INTO tinyns.link VALUES ('{ZONE}', 'zz-rare', 'https://rare.example/', 1800000000, 'rarely', 4100000000, NULL,
          7, 'Zwetschgenmus 京都', '["rare"]', NULL, '{{"kind": "abuse", "reason": "Phishing"}}')"#
    ));
}

/// The codes of the first page that finds something, or of one that is complete. On a busy machine PostgreSQL may end a
/// search before it has looked far.
async fn first_page(store: &dyn Store, query: &Query) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let page = store.find(query, None, 10).await.unwrap();
        if page.next.is_none() || !page.links.is_empty() {
            return page
                .links
                .iter()
                .map(|link| link.name.code().to_owned())
                .collect();
        }
        assert!(Instant::now() < end, "{query:?}");
    }
}

/// All links are noted anew after a TRUNCATE, after changes have left the table `change`, and in another cluster.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_index_is_made_anew_after_a_gap() {
    let server = Postgres::start();
    let store = opened(&server).await;
    fill(&server, 1, 3_000);
    wait_for_indexes(&server);
    store.close().await;
    server.psql(
        "UPDATE tinyns.link SET title = 'Zwetschgen' WHERE created_at = 1700000900; DELETE FROM tinyns.change; \
         UPDATE tinyns.store SET forgotten = txid_snapshot_xmin(txid_current_snapshot())",
    );
    let store = opened(&server).await;
    let text = SearchText::parse("zwetschgen").ok();
    let query = Query {
        text,
        ..Query::all(origin(ZONE))
    };
    let check = async |store: &dyn Store| {
        let links = links(store).await;
        let expected = expected(&links, &query)
            .into_iter()
            .map(String::from)
            .collect::<Vec<_>>();
        assert_eq!(find_all(store, &query, 10).await, expected);
        expected.len()
    };
    assert!(check(&store).await > 0);
    wait_for_indexes(&server);
    check(&store).await;
    server.psql("TRUNCATE tinyns.link");
    make(&store, new("zwetschgen", "1"), NOW).await;
    assert_eq!(check(&store).await, 1);
    wait_for_indexes(&server);
    assert_eq!(check(&store).await, 1);
    assert_eq!(server.psql("SELECT count(*) FROM tinyns.link_text"), "1");
    assert!(store.get(&name("zwetschgen")).await.unwrap().is_some());
}
