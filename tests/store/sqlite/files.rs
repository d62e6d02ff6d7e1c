//! The file: which files are refused, and which processes may open it.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use tinyns::base::clock::Clock;
use tinyns::store::{Identity, OpenError, Order, Query, SearchText, SqliteStore};

use super::*;
use crate::store::find::find_all;

/// Opening must fail; gives why, and checks that the message is one line that names the file.
fn refused(path: &Path) -> OpenError {
    let error = SqliteStore::open(path, Clock::default()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    error
}

#[tokio::test]
async fn missing_directories_are_made_for_this_user_alone() {
    let place = Place::new();
    let path = place.0.path().join("a/b/links.sqlite");
    let store = SqliteStore::open(&path, Clock::default()).unwrap();
    make(&store, new("a", "1"), NOW).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path) & 0o077, 0, "{:o}", mode(&path));
    for dir in path.ancestors().skip(1).take(2) {
        assert_eq!(mode(dir) & 0o077, 0, "{dir:?} {:o}", mode(dir));
    }
}

#[tokio::test]
async fn a_second_process_gets_the_error_that_the_file_is_locked() {
    let place = Place::new();
    let store = place.store();
    assert!(matches!(refused(&place.path()), OpenError::Locked { .. }));
    // Another way to the same file does not lead around the lock.
    let link = place.0.path().join("alias.sqlite");
    symlink(place.path(), &link).unwrap();
    assert!(matches!(refused(&link), OpenError::Locked { .. }));
    // The process that has it open is not disturbed.
    make(&store, new("a", "1"), NOW).await;
    store.close().await;
    let store = SqliteStore::open(&link, Clock::default()).unwrap();
    assert!(store.get(&name("a")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_file_in_another_programs_transaction_is_locked() {
    let place = Place::new();
    let foreign = place.foreign();
    foreign.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(matches!(refused(&place.path()), OpenError::Locked { .. }));
    foreign.execute_batch("ROLLBACK").unwrap();
    place.store().ping().await.unwrap();
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::new();
    place.store().close().await;
    place
        .foreign()
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    let before = fs::read(place.path()).unwrap();
    match refused(&place.path()) {
        OpenError::NewerSchema { found, known, .. } => assert_eq!((found, known), (99, 14)),
        other => panic!("{other}"),
    }
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

/// The tables of schema version 3, with links.
#[tokio::test]
async fn links_of_an_earlier_schema_can_be_found() {
    let place = Place::new();
    earlier::make(&place.path(), 60_000);
    let store = place.store();
    // At once, before the text index has all links, and afterwards.
    for wait in [0, 1_500] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let query = Query {
            text: SearchText::parse("ID=59999").ok(),
            order: Order::Newest,
            ..Query::all(origin(ZONE))
        };
        assert_eq!(find_all(&store, &query, 10).await, ["c59999"]);
        let query = Query {
            host: Some("h7.example".into()),
            ..query
        };
        assert_eq!(find_all(&store, &query, 10).await, [""; 0]);
        let query = Query {
            text: None,
            ..query
        };
        let found = find_all(&store, &query, 1_000).await;
        assert_eq!((found.len(), &*found[0]), (600, "c59907"));
    }
    let link = store.get(&name("c1")).await.unwrap().unwrap();
    assert_eq!((link.version, link.ttl), (Version(1), Ttl::from_secs(60)));
    store.close().await;
}

#[test]
fn files_of_other_programs_are_refused_and_left_alone() {
    let check = |sql: &str, reason: &str| {
        let place = Place::new();
        place.foreign().execute_batch(sql).unwrap();
        let before = fs::read(place.path()).unwrap();
        let error = refused(&place.path());
        assert!(
            matches!(error, OpenError::ForeignDatabase { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(fs::read(place.path()).unwrap(), before, "{sql}");
    };
    check("CREATE TABLE music (title)", "tables");
    check("PRAGMA application_id = 252006674", "0x0f055112");
    check("PRAGMA user_version = 3", "user_version is 3");
}

#[tokio::test]
async fn a_file_that_is_no_sound_store_is_refused_and_not_changed() {
    let place = Place::new();
    let store = place.store();
    for i in 0..200 {
        make(&store, new(&format!("c{i}"), "1"), NOW).await;
    }
    store.close().await;
    let sound = fs::read(place.path()).unwrap();

    let check = |content: &[u8]| {
        fs::write(place.path(), content).unwrap();
        let error = refused(&place.path());
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(place.path()).unwrap(), content, "{error}");
    };
    check(b"short");
    check(&b"These are not links. ".repeat(1_000));
    for cut in [50, 200, 4_096, 5_000, sound.len() - 4_096, sound.len() - 1] {
        check(&sound[..cut]);
    }
    let mut wrong_magic = sound.clone();
    wrong_magic[0] = b's';
    check(&wrong_magic);

    fs::write(place.path(), &sound).unwrap();
    place.foreign().execute_batch("DROP TABLE meta").unwrap();
    let error = refused(&place.path());
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("no such table"), "{error}");
}

#[test]
fn a_conflicting_link_is_named() {
    let place = Place::new();
    let check = |path: &Path, reason: &str| {
        let error = refused(path);
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    };
    check(place.0.path(), "is a directory");
    let file = place.0.path().join("file");
    fs::write(&file, "").unwrap();
    check(&file.join("links.sqlite"), "ot a directory");
    check(&file.join("sub/links.sqlite"), "ot a directory");
    let dangling = place.0.path().join("dangling");
    symlink(place.0.path().join("nowhere"), &dangling).unwrap();
    check(&dangling, "No such file");
    check(Path::new("/dev/null"), "not a regular file");
}

/// The kernel lets not even the superuser, as whom tests often run, make anything in sysfs.
#[test]
#[cfg(target_os = "linux")]
fn a_place_where_nothing_can_be_made_is_read_only() {
    let error = refused(Path::new("/sys/kernel/tinyns/links.sqlite"));
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    let error = refused(Path::new("/sys/kernel/links.sqlite"));
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
}

#[tokio::test]
async fn missing_permission_is_read_only() {
    let place = Place::new();
    place.store().close().await;
    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    allow(&place.path(), 0o444).unwrap();
    let superuser = OpenOptions::new().write(true).open(place.path()).is_ok();
    let check = || match SqliteStore::open(&place.path(), Clock::default()) {
        Err(OpenError::ReadOnly { .. }) => assert!(!superuser),
        // Permission bits do not bind the superuser.
        Ok(_) => assert!(superuser),
        Err(error) => panic!("{error}"),
    };
    check();
    allow(&place.path(), 0o600).unwrap();
    fs::remove_file(place.0.path().join("links.sqlite.lock")).unwrap();
    allow(place.0.path(), 0o555).unwrap();
    check();
    allow(place.0.path(), 0o755).unwrap();
    place.store().ping().await.unwrap();
}

#[tokio::test]
async fn the_file_can_be_read_by_others_while_it_is_open() {
    let place = Place::new();
    let store = place.store();
    make(&store, new("a", "1"), NOW).await;
    let url: String = place
        .foreign()
        .query_row("SELECT url FROM link WHERE code = 'a'", [], |r| r.get(0))
        .unwrap();
    assert_eq!(url, "https://example.net/1");
}

#[tokio::test]
async fn a_writer_from_outside_makes_writes_fail_and_reads_go_on() {
    let place = Place::new();
    let store = place.store();
    let link = make(&store, new("a", "1"), NOW).await;
    let foreign = place.foreign();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();

    let begun = Instant::now();
    let write = async {
        let outcome = store.create(new("b", "1"), NOW).await;
        (outcome, begun.elapsed())
    };
    let read = async {
        check_get(&store, "a", Some(&link)).await;
        begun.elapsed()
    };
    let ((write, write_took), read_took) = tokio::join!(write, read);
    // It has done nothing, and says so.
    let StoreError::Refused(reason) = write.unwrap_err() else {
        panic!("not refused");
    };
    assert_eq!(reason, "database is locked");
    assert!(write_took < Duration::from_secs(30), "{write_took:?}");
    // The read does not wait until the write has given up.
    assert!(read_took < write_took, "{read_took:?}, {write_took:?}");

    foreign.execute_batch("ROLLBACK").unwrap();
    make(&store, new("b", "1"), NOW).await;
}

#[tokio::test]
async fn a_file_is_read_beside_a_server_after_a_kill_and_while_none_has_it() {
    let place = Place::new();
    let check = async |in_use: bool| {
        let store = SqliteStore::open_to_read(&place.path()).unwrap();
        assert_eq!(store.is_in_use(), in_use);
        assert_eq!(store.examine(None, 9).await.unwrap().links.len(), 1);
        assert_eq!(store.check_integrity().await.unwrap(), Vec::<String>::new());
        let refused = store.create(new("b", "1"), NOW).await;
        assert!(
            matches!(refused, Err(StoreError::Refused(_))),
            "{refused:?}"
        );
        assert!(store.begin_epoch().await.is_err());
        store
    };
    let files = || {
        let files = fs::read_dir(place.0.path()).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let server = place.store();
    make(&server, new("a", "1"), NOW).await;
    let facts = server.facts().await.unwrap();
    let beside = check(true).await;
    assert_eq!(beside.facts().await.unwrap(), facts);
    assert_eq!(beside.identity().number(), server.identity().number());
    make(&server, new("c", "1"), NOW).await;
    assert_eq!(beside.examine(None, 9).await.unwrap().links.len(), 2);
    remove(&server, "c", NOW).await;
    // As a server leaves it that was killed.
    let killed = tempfile::tempdir().unwrap();
    for end in ["", "-wal", "-shm", ".lock"] {
        let from = format!("{}{end}", place.path().display());
        fs::copy(from, killed.path().join(format!("links.sqlite{end}"))).unwrap();
    }
    let after = SqliteStore::open_to_read(&killed.path().join("links.sqlite")).unwrap();
    assert!(!after.is_in_use());
    assert_eq!(after.examine(None, 9).await.unwrap().links.len(), 1);
    drop((after, beside));

    let seal = server.close().await;
    assert!(seal.is_some());
    drop(server);
    let before = files();
    let alone = check(false).await;
    assert_eq!(files(), before);
    // What it reads cannot change meanwhile.
    let refused = SqliteStore::open(&place.path(), Clock::default());
    assert!(
        matches!(refused, Err(OpenError::Locked { .. })),
        "{refused:?}"
    );
    drop(alone);
    // Nothing was changed: the server finds the file as it left it.
    match place.store().identity() {
        Identity::Own { found, .. } => assert_eq!(found, seal),
        other => panic!("{other:?}"),
    }
    let missing = SqliteStore::open_to_read(&place.0.path().join("none"));
    assert!(matches!(missing, Err(OpenError::Io { .. })), "{missing:?}");
    assert!(!place.0.path().join("none").exists());
}

#[tokio::test]
async fn a_check_finds_what_is_wrong() {
    let place = Place::new();
    let store = place.store();
    for code in ["a", "b", "c"] {
        let mut link = new(code, code);
        link.about = about("t", &["x", "y"], "");
        make(&store, link, NOW).await;
    }
    assert_eq!(store.check_integrity().await.unwrap(), Vec::<String>::new());
    let foreign = place.foreign();
    foreign
        .execute_batch(
            "UPDATE link SET url = 'ftp://x/' WHERE code = 'a'; UPDATE audit SET action = 'eaten' WHERE code = 'b'; \
             DELETE FROM link_tag WHERE code = 'a' AND tag = 'x'; \
             INSERT INTO link_tag VALUES ('s.example.com', 'z', 1, 'c'); \
             DELETE FROM link_host WHERE code = 'b'; \
             INSERT INTO link_host VALUES ('s.example.com', 'h', 1, 'c'); \
             DELETE FROM link_todo; UPDATE link SET id = 77 WHERE code = 'c'; DELETE FROM link_todo",
        )
        .unwrap();
    drop(foreign);
    let page = store.examine(None, 9).await.unwrap();
    assert_eq!(codes(&page.links), ["b", "c"]);
    assert_eq!(page.faults.len(), 1);
    assert!(page.faults[0].starts_with("a.s.example.com: "), "{page:?}");
    let found = store.check_integrity().await.unwrap();
    let expected = [
        "1 tags of links are missing in the index of tags",
        "1 entries of the index of tags belong to no link",
        "1 links are missing in the index of hosts",
        "1 entries of the index of hosts belong to no link",
        "links are missing in the index of texts",
        "1 entries of the audit log cannot be read",
    ];
    for fault in expected {
        assert!(
            found.iter().any(|found| found.contains(fault)),
            "{fault}: {found:?}"
        );
    }
}
