//! Copies: from one kind of store to another and back, killed on the way, and what they leave alone.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tinyns::base::clock::{Clock, UnixTime};
use tinyns::link::{
    About, Destinations, LinkName, Note, Rank, Tags, TargetUrl, Title, Ttl, Withheld,
};
use tinyns::store::{Change, NewLink, SqliteStore, Store};

use super::{done, failed, text};
use crate::dynamo::{self, Emulator};
use crate::harness::{Answer, PATIENCE, Process, Server, Setup, eventually, http, tinyns, wait};

/// All that a copy can take along.
const ALL: [&str; 3] = ["--with-tokens", "--with-audit", "--with-certificates"];

/// Runs a command with two configurations and [`ALL`].
pub(super) fn all<'a>(command: &'a str, from: &'a Path, to: &'a Path) -> Vec<&'a str> {
    let mut args = vec![command, text(from), text(to)];
    args.extend(ALL);
    args
}

/// A server with its links in this file.
pub(super) fn on_file(path: &Path) -> Setup {
    Setup::new().store(&format!("path = \"{}\"\n", path.display()))
}

/// A server with its links and its audit log in tables of an emulator.
pub(super) fn on_tables(emulator: &Emulator) -> Setup {
    let setup = Setup::new().dynamodb(&emulator.url());
    setup.section("[audit]\ntable = \"audit\"\n")
}

/// Fills a file with links of all kinds, some of them changed and deleted.
pub(super) async fn fill(path: &Path, links: usize) {
    let clock = Clock::default();
    let now = clock.micros();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, clock).unwrap());
    let make = |number: usize| {
        let has = |divisor: usize| number.is_multiple_of(divisor);
        let about = About::new(
            has(2).then(|| Title::parse(&format!("Title {number}")).unwrap()),
            Tags::parse(
                has(3)
                    .then_some("a")
                    .into_iter()
                    .chain(has(5).then_some("b")),
            )
            .unwrap(),
            has(7).then(|| Note::parse("Two\nlines").unwrap()),
        );
        let withheld = has(11).then(|| Withheld::parse("abuse", "Phishing", None).unwrap());
        let other = format!("https://other.example/{number}");
        let urls = [format!("https://example.net/{number}"), other];
        let urls = urls.iter().take(if has(29) { 2 } else { 1 });
        let ranked = urls.map(|url| (TargetUrl::parse(url).unwrap(), Rank::default()));
        let (target, destinations) = Destinations::of(ranked.collect()).unwrap();
        NewLink {
            name: name(number),
            target,
            destinations,
            created_by: if has(13) { "ann" } else { "bob" }.into(),
            expires_at: has(17).then(|| UnixTime(now / 1_000_000 + 3_600 + number as u64)),
            ttl: has(19).then(|| Ttl::from_secs(number as u64 % 600).unwrap()),
            about,
            withheld: withheld.map(Box::new),
        }
    };
    let by: tinyns::store::audit::Actor = "carol".into();
    for piece in (0..links).collect::<Vec<_>>().chunks(500) {
        let work = piece.iter().map(|number| {
            let (store, new, by) = (store.clone(), make(*number), by.clone());
            let number = *number;
            async move {
                let is_withheld = new.withheld.is_some();
                store.create(new, now + number as u64).await.unwrap();
                if number.is_multiple_of(23) && !is_withheld {
                    let change = Change {
                        ttl: Some(Ttl::from_secs(9)),
                        ..Change::default()
                    };
                    let name = name(number);
                    store.change(&name, None, change, &by, now).await.unwrap();
                }
                if number.is_multiple_of(101) && !is_withheld {
                    store.delete(&name(number), None, &by, now).await.unwrap();
                }
            }
        });
        join_all(work).await;
    }
    store.close().await;
}

fn name(number: usize) -> LinkName {
    LinkName::parse(&format!("k{number}.s.example.com")).unwrap()
}

/// How many links a file has, counted beside whoever has it open.
fn count(file: &Path) -> usize {
    let open =
        rusqlite::Connection::open_with_flags(file, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY);
    let count = open.and_then(|file| {
        file.query_row("SELECT count(*) FROM link", [], |row| row.get::<_, i64>(0))
    });
    count.map_or(0, |count| usize::try_from(count).unwrap())
}

/// Begins a copy, and kills it once `copied` says so.
pub(super) fn kill_in_the_middle(from: &Path, to: &Path, copied: impl Fn() -> bool) {
    let mut command = tinyns();
    command
        .arg("store")
        .args(all("copy", from, to))
        .stderr(Stdio::null());
    let mut child = Process(command.stdout(Stdio::null()).spawn().unwrap());
    eventually("some links are copied", PATIENCE, copied);
    child.0.kill().unwrap();
    assert!(!wait(&mut child.0).success(), "it had ended before");
}

#[test]
fn a_store_comes_back_from_a_table_as_it_was_although_both_copies_were_killed() {
    const LINKS: usize = 1_500;
    let dir = tempfile::tempdir().unwrap();
    let files = ["first.sqlite", "last.sqlite"].map(|file| dir.path().join(file));
    dynamo::once(fill(&files[0], LINKS));
    let setups = files.each_ref().map(|file| on_file(file));
    let [first, last]: [PathBuf; 2] = setups.each_ref().map(|setup| setup.write());
    // A token, and its entry in the log.
    let secret = {
        let setup = on_file(&files[0]);
        let mut server = setup.start();
        let new = json!({ "name": "ann", "role": "editor" });
        let made = server.api("POST", "/v1/tokens", Some(&new)).json();
        assert!(server.stop().success());
        made["token"].as_str().unwrap().to_owned()
    };
    let emulator = Emulator::start();
    let tables = on_tables(&emulator);
    let middle = tables.write();
    // Seen in the table in some order, so that this one is not the last.
    kill_in_the_middle(&first, &middle, || emulator.items_beyond(LINKS / 6));
    failed(&all("verify", &first, &middle));
    let said = done(&all("copy", &first, &middle));
    assert!(!said.contains("links: 0 copied"), "{said}");
    assert!(
        !said.contains(" 0 were there already, 0 not copied\ndocument"),
        "{said}"
    );
    done(&all("verify", &first, &middle));
    let said = done(&all("copy", &first, &middle));
    assert!(
        said.contains("links: 0 copied") && said.contains("audit log: 0 entries copied"),
        "{said}"
    );

    kill_in_the_middle(&middle, &last, || count(&files[1]) > LINKS / 6);
    failed(&all("verify", &middle, &last));
    done(&all("copy", &middle, &last));
    done(&all("verify", &middle, &last));
    let said = done(&all("verify", &first, &last));
    let (kept, _) = said.split_once(" links are the same").unwrap();
    let kept: usize = kept.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((LINKS - LINKS / 50..LINKS).contains(&kept), "{said}");
    let said = done(&["verify", text(&last)]);
    assert!(said.contains("1 tokens"), "{said}");

    // It works as a store: the token, and versions that go on.
    let server = on_file(&files[1]).start();
    assert_eq!(
        server.answer("k1.s.example.com"),
        Answer::url("https://example.net/1")
    );
    let url = format!("http://{}/v1/links/k1", server.admin);
    let authorization = format!("Bearer {secret}");
    let headers = [("authorization", authorization.as_str())];
    let link = http("GET", &url, &headers, None);
    assert_eq!(link.status, 200, "{link:?}");
    let before = link.json()["version"].as_u64().unwrap();
    let after = server.redirect_to("k1", "https://example.net/new").json();
    assert!(after["version"].as_u64().unwrap() > before, "{after}");
}

#[test]
fn later_states_are_left_alone_and_differences_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["a.sqlite", "b.sqlite"].map(|file| dir.path().join(file));
    let setups = files.each_ref().map(|file| on_file(file));
    let [a, b]: [PathBuf; 2] = setups.each_ref().map(|setup| setup.write());
    let mut server = on_file(&files[0]).start();
    for code in ["same", "later", "gone", "earlier"] {
        server.register(code, "https://example.net/1");
    }
    // While the server of the first store runs.
    let said = super::store(&["copy", text(&a), text(&b)]);
    assert!(said.status.success(), "{said:?}");
    assert!(
        String::from_utf8_lossy(&said.stderr).contains("stop it, and run the command once more")
    );
    server.redirect_to("earlier", "https://example.net/2");
    server.register("new", "https://example.net/1");
    assert!(server.stop().success());
    {
        let mut other = on_file(&files[1]).start();
        // The second store cannot be filled while its server has it.
        let said = failed(&["copy", text(&a), text(&b)]);
        assert!(said.contains("stop the server that has it open"), "{said}");
        other.redirect_to("later", "https://example.net/3");
        assert_eq!(other.remove("gone").status, 204);
        other.register("own", "https://example.net/1");
        assert!(other.stop().success());
    }
    let compare = || failed(&["verify", text(&a), text(&b)]);
    let said = compare();
    for line in [
        "differs in url, version: later.s.example.com",
        "differs in url, version: earlier.s.example.com",
        "only in A: gone.s.example.com",
        "only in A: new.s.example.com",
        "only in B: own.s.example.com",
        "1 links are the same, 2 differ, 2 are only in A, 1 only in B",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = failed(&["copy", text(&a), text(&b)]);
    assert!(
        said.contains("links: 1 copied, 1 were there already, 3 not copied"),
        "{said}"
    );
    // The file knows only when it has deleted links, not which, and the new one was made before that.
    for code in ["later", "gone", "new"] {
        let line =
            format!("not copied, TO has a later state or a later deletion: {code}.s.example.com");
        assert!(said.contains(&line), "{said}");
    }
    let said = compare();
    assert!(
        said.contains("2 links are the same, 1 differ, 2 are only in A, 1 only in B"),
        "{said}"
    );
    let said = failed(&["copy", text(&a), text(&a)]);
    assert!(said.contains("are the same store"), "{said}");
}

#[test]
fn tokens_follow_until_the_other_store_has_changed_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let files = ["a.sqlite", "b.sqlite"].map(|file| dir.path().join(file));
    let setups = files.each_ref().map(|file| on_file(file));
    let [a, b]: [PathBuf; 2] = setups.each_ref().map(|setup| setup.write());
    let change = |file: &Path, method: &str, path: &str, body: Option<serde_json::Value>| {
        let mut server: Server = on_file(file).start();
        let reply = server.api(method, path, body.as_ref());
        assert!(reply.status < 300, "{reply:?}");
        assert!(server.stop().success());
    };
    let token = |name: &str| Some(json!({ "name": name, "role": "reader" }));
    let copy = ["copy", text(&a), text(&b), "--with-tokens"];
    let compare = ["verify", text(&a), text(&b), "--with-tokens"];
    change(&files[0], "POST", "/v1/tokens", token("ann"));
    done(&copy);
    done(&compare);
    // A token that was revoked meanwhile must not come back to life.
    change(&files[0], "DELETE", "/v1/tokens/ann", None);
    let said = failed(&compare);
    assert!(
        said.contains("differs: the document access:tokens"),
        "{said}"
    );
    let said = done(&copy);
    assert!(said.contains("document access:tokens: copied"), "{said}");
    done(&compare);
    change(&files[1], "POST", "/v1/tokens", token("bob"));
    let said = failed(&copy);
    assert!(
        said.contains("access:tokens: not copied, TO has changed its own"),
        "{said}"
    );
    let said = done(&["verify", text(&b)]);
    assert!(said.contains("1 tokens"), "{said}");
    // Without being asked to, a copy takes no tokens along.
    done(&["copy", text(&a), text(&b)]);
}

#[test]
fn a_copy_waits_for_a_table_that_throttles_and_says_how_to_go_on_if_it_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.sqlite");
    dynamo::once(fill(&file, 300));
    let setup = on_file(&file);
    let from = setup.write();
    let emulator = Emulator::start();
    let proxy = dynamo::Proxy::spawn(&emulator);
    let tables = Setup::new().dynamodb(&proxy.url());
    let to = tables.write();
    proxy.on("PutItem", dynamo::Fate::error(400, "ValidationException"));
    let said = failed(&["copy", text(&from), text(&to)]);
    assert!(
        said.contains("run the command again, and it goes on"),
        "{said}"
    );
    proxy.on("PutItem", dynamo::Fate::error(400, "ThrottlingException"));
    let mut command = tinyns();
    command.arg("store").args(["copy", text(&from), text(&to)]);
    let mut child = Process(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    std::thread::sleep(Duration::from_secs(1));
    assert!(child.0.try_wait().unwrap().is_none(), "it did not wait");
    proxy.all(dynamo::Fate::Pass);
    assert!(wait(&mut child.0).success());
    done(&["verify", text(&from), text(&to)]);
}
