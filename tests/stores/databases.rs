//! Copies into a PostgreSQL database and out of it, and what a comparison finds there.

use std::path::Path;

use serde_json::{Value, json};

use super::copies::{all, fill, kill_in_the_middle, on_file, on_tables};
use super::{done, failed, text};
use crate::dynamo::{self, Emulator};
use crate::harness::{Answer, Server, Setup, http};
use crate::postgres::Postgres;

pub(super) fn on_database(postgres: &Postgres) -> Setup {
    let url = postgres.url();
    Setup::new().store(&format!("kind = \"postgresql\"\nurl = \"{url}\"\n"))
}

/// Begins the copy to a database, and kills it when a part of the links is there.
fn kill_on_the_way(from: &Path, to: &Path, postgres: &Postgres, links: usize) {
    let is_there = "SELECT to_regclass('tinyns.link') IS NOT NULL";
    let some = format!("SELECT count(*) > {} FROM tinyns.link", links / 6);
    kill_in_the_middle(from, to, || {
        postgres.psql(is_there) == "t" && postgres.psql(&some) == "t"
    });
}

/// From a file to a database, to a table, and to a file.
#[test]
fn a_store_comes_back_from_a_database_and_a_table_as_it_was() {
    const LINKS: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let files = ["first.sqlite", "last.sqlite"].map(|file| dir.path().join(file));
    dynamo::once(fill(&files[0], LINKS));
    let secret = {
        let mut server = on_file(&files[0]).start();
        let new = json!({ "name": "ann", "role": "editor" });
        let made = server.api("POST", "/v1/tokens", Some(&new)).json();
        assert!(server.stop().success());
        made["token"].as_str().unwrap().to_owned()
    };
    let setups = files.each_ref().map(|file| on_file(file));
    let [first, last] = setups.each_ref().map(|setup| setup.write());
    let postgres = Postgres::start();
    let on_database = on_database(&postgres);
    let database = on_database.write();

    kill_on_the_way(&first, &database, &postgres, LINKS);
    failed(&all("verify", &first, &database));
    let said = done(&all("copy", &first, &database));
    assert!(!said.contains("links: 0 copied"), "{said}");
    assert!(
        !said.contains(" 0 were there already, 0 not copied\ndocument"),
        "{said}"
    );
    done(&all("verify", &first, &database));
    let said = done(&all("copy", &first, &database));
    assert!(
        said.contains("links: 0 copied") && said.contains("audit log: 0 entries copied"),
        "{said}"
    );

    // The emulator is slow; a part of the links is enough for the rest of the way.
    postgres.psql("DELETE FROM tinyns.link WHERE length(code) > 4; DELETE FROM tinyns.audit WHERE length(code) > 4");
    let emulator = Emulator::start();
    let tables = on_tables(&emulator);
    let middle = tables.write();
    done(&all("copy", &database, &middle));
    done(&all("verify", &database, &middle));
    done(&all("copy", &middle, &last));
    done(&all("verify", &middle, &last));
    let said = done(&all("verify", &database, &last));
    let (kept, _) = said.split_once(" links are the same").unwrap();
    let kept: usize = kept.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((900..1_000).contains(&kept), "{said}");

    // Each of them works as a store: the token, and versions that go on.
    for setup in [on_database, on_file(&files[1])] {
        let server = setup.start();
        assert_eq!(
            server.answer("k1.s.example.com"),
            Answer::url("https://example.net/1")
        );
        let url = format!("http://{}/v1/links/k1", server.admin);
        let authorization = format!("Bearer {secret}");
        let link = http(
            "GET",
            &url,
            &[("authorization", authorization.as_str())],
            None,
        );
        assert_eq!(link.status, 200, "{link:?}");
        let before = link.json()["version"].as_u64().unwrap();
        let after: Value = server.redirect_to("k1", "https://example.net/new").json();
        assert!(after["version"].as_u64().unwrap() > before, "{after}");
    }
}

#[test]
fn a_comparison_with_a_database_names_each_kind_of_difference() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.sqlite");
    let a = on_file(&file);
    let a = a.write();
    let postgres = Postgres::start();
    let b = on_database(&postgres);
    let b = b.write();
    {
        let mut server: Server = on_file(&file).start();
        for code in [
            "same", "url", "title", "owner", "times", "gone", "withheld", "broken",
        ] {
            server.register(code, "https://example.net/1");
        }
        let token = json!({ "name": "ann", "role": "reader" });
        assert_eq!(server.api("POST", "/v1/tokens", Some(&token)).status, 201);
        assert!(server.stop().success());
    }
    done(&all("copy", &a, &b));
    done(&all("verify", &a, &b));
    postgres.psql(
        "UPDATE tinyns.link SET url = 'https://example.net/2' WHERE code = 'url'; \
         UPDATE tinyns.link SET title = 'A title', tags = '[\"a\"]', note = 'b' WHERE code = 'title'; \
         UPDATE tinyns.link SET created_by = 'mallory' WHERE code = 'owner'; \
         UPDATE tinyns.link SET created_at = 7, expires_at = 4100000000, ttl = 77 WHERE code = 'times'; \
         UPDATE tinyns.link SET withheld = '{\"kind\": \"abuse\", \"reason\": \"x\"}' WHERE code = 'withheld'; \
         UPDATE tinyns.link SET url = 'ftp://x/' WHERE code = 'broken'; \
         DELETE FROM tinyns.link WHERE code = 'gone'; \
         INSERT INTO tinyns.link (origin, code, url) VALUES ('s.example.com', 'own', 'https://example.net/'); \
         UPDATE tinyns.document SET content = convert_to(replace(convert_from(content, 'UTF8'), 'ann', 'bob'), 'UTF8') \
         WHERE key = 'access:tokens'; \
         DELETE FROM tinyns.audit WHERE code = 'same'",
    );
    let said = failed(&all("verify", &a, &b));
    for line in [
        "differs in url, version: url.s.example.com",
        "differs in title, tags, note, version: title.s.example.com",
        "differs in created_by, version: owner.s.example.com",
        "differs in created_at, expires_at, ttl, version: times.s.example.com",
        "differs in withheld, version: withheld.s.example.com",
        "broken.s.example.com",
        "only in A: gone.s.example.com",
        "only in B: own.s.example.com",
        "differs: the document access:tokens",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = failed(&["verify", text(&b)]);
    assert!(said.contains("fault: broken.s.example.com: "), "{said}");
    // A copy ends at a damaged link in its way.
    let said = failed(&["copy", text(&a), text(&b)]);
    assert!(
        said.contains("\"broken.s.example.com\" is not a valid link"),
        "{said}"
    );
    // It leaves later states alone, and says so.
    postgres.psql("DELETE FROM tinyns.link WHERE code = 'broken'");
    let said = failed(&["copy", text(&a), text(&b)]);
    for code in [
        "url", "title", "owner", "times", "gone", "withheld", "broken",
    ] {
        let line =
            format!("not copied, TO has a later state or a later deletion: {code}.s.example.com");
        assert!(said.contains(&line), "{line}: {said}");
    }
}
