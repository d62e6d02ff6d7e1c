//! Statistics in copies, comparisons and checks.

use std::path::Path;
use std::sync::Arc;

use tinyns::base::clock::{Clock, UnixTime};
use tinyns::link::{LinkName, TargetUrl};
use tinyns::store::servers::Label;
use tinyns::store::statistics::{Added, Batch, Counter, Keeping, Row, Unit};
use tinyns::store::{NewLink, SqliteStore, Store};

use super::copies::{on_file, on_tables};
use super::databases::on_database;
use super::{done, failed, text};
use crate::dynamo::{self, Emulator};
use crate::postgres::Postgres;

const LINKS: usize = 700;

fn name(number: usize) -> LinkName {
    LinkName::parse(&format!("k{number}.s.example.com")).unwrap()
}

/// A file with links that were used, one of which no longer exists.
async fn fill(path: &Path) {
    let clock = Clock::default();
    let (now, hour) = (clock.micros(), Unit::Hour.start_of(clock.now()));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, clock).unwrap());
    let sums = store.statistics().unwrap();
    sums.keep(Keeping { deleted: true }).await.unwrap();
    for number in 0..LINKS {
        let new = NewLink {
            name: name(number),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_by: "bob".into(),
            expires_at: None,
            ttl: None,
            about: tinyns::link::About::default(),
            destinations: None,
            withheld: None,
        };
        store.create(new, now).await.unwrap();
    }
    for (piece, numbers) in (1..).zip((0..LINKS).collect::<Vec<_>>().chunks(50)) {
        let row = |number: &usize, counter: &str| Row {
            name: name(*number),
            hour,
            counter: Counter::parse(counter).unwrap(),
            count: 1 + *number as u64,
        };
        let counters = ["lookup:address", "lookup:txt", "click:person", "country:DE"];
        let rows = numbers
            .iter()
            .flat_map(|number| counters.map(|counter| row(number, counter)));
        let batch = Batch {
            server: Label::new("s").unwrap(),
            number: piece,
            rows: rows.collect(),
        };
        let added = sums.add(&batch, UnixTime(now / 1_000_000)).await.unwrap();
        assert_eq!(added, Added::Now);
    }
    let by = "bob".into();
    store.delete(&name(0), None, &by, now).await.unwrap();
    store.close().await;
}

fn copy<'a>(command: &'a str, from: &'a Path, to: &'a Path) -> [&'a str; 4] {
    [command, text(from), text(to), "--with-statistics"]
}

#[test]
fn statistics_go_from_a_file_to_a_database_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["first.sqlite", "last.sqlite"].map(|file| dir.path().join(file));
    dynamo::once(fill(&files[0]));
    let [first, last] = files.each_ref().map(|file| on_file(file));
    let last = last.section("[statistics]\nkeep_deleted = true\n");
    let (first_file, last_file) = (first.write(), last.write());
    let postgres = Postgres::start();
    let database = on_database(&postgres);
    let (first, last, database) = (first_file, last_file, database.write());

    done(&["copy", text(&first), text(&database)]);
    let said = failed(&copy("verify", &first, &database));
    assert!(
        said.contains("statistics only in A: s.example.com, all time"),
        "{said}"
    );
    // Four rows for each link and for the zone; the database does not keep those of the link that is gone.
    let (links, all) = (4 * (LINKS - 1), 4 * LINKS + 4);
    let said = done(&copy("copy", &first, &database));
    let expected = format!(
        "statistics: {} sums copied, 0 were there already, 4 are of links that TO does not have, 0 not copied",
        links + 4
    );
    assert!(said.contains(&expected), "{said}");
    let said = done(&copy("copy", &first, &database));
    let expected = format!(
        "statistics: 0 sums copied, {} were there already",
        links + 4
    );
    assert!(said.contains(&expected), "{said}");
    let said = done(&copy("verify", &first, &database));
    assert!(
        said.contains(&format!(
            "statistics: {} sums are the same, 0 differ",
            links + 4
        )),
        "{said}"
    );
    let said = done(&["verify", text(&database)]);
    assert!(
        said.contains(&format!("{} sums of statistics", links + 4)),
        "{said}"
    );

    done(&copy("copy", &database, &last));
    done(&copy("verify", &database, &last));
    done(&copy("copy", &first, &last));
    let said = done(&copy("verify", &first, &last));
    assert!(
        said.contains(&format!("statistics: {all} sums are the same, 0 differ")),
        "{said}"
    );

    // Higher sums stay, lower ones are raised, and a comparison names them.
    postgres.psql(
        "UPDATE tinyns.statistics SET lookups = 9000 WHERE code = 'k7' AND unit = 3; \
         UPDATE tinyns.statistics SET clicks = 2 WHERE code = 'k8' AND unit = 3; \
         DELETE FROM tinyns.statistics WHERE code = 'k9' AND unit = 3",
    );
    let said = failed(&copy("verify", &first, &database));
    for line in [
        "statistics differ: k7.s.example.com, all time",
        "statistics differ: k8.s.example.com, all time",
        "statistics only in A: k9.s.example.com, all time",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = done(&copy("copy", &first, &database));
    assert!(said.contains("statistics: 2 sums copied"), "{said}");
    let said = failed(&copy("verify", &first, &database));
    assert!(
        said.contains("k7.s.example.com") && !said.contains("k8.s"),
        "{said}"
    );

    postgres.psql("UPDATE tinyns.statistics SET others = '{' WHERE code = 'k5' AND unit = 0");
    let said = failed(&["verify", text(&database)]);
    assert!(
        said.contains("fault: the statistics of k5.s.example.com"),
        "{said}"
    );
}

#[test]
fn a_table_keeps_no_statistics_and_the_copy_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("first.sqlite");
    dynamo::once(fill(&file));
    let emulator = Emulator::start();
    let (file, table) = (on_file(&file), on_tables(&emulator));
    let said = failed(&copy("copy", &file.write(), &table.write()));
    assert!(said.contains("leave --with-statistics out"), "{said}");
}
