//! The table throttles, hangs, or cannot be reached.

use std::process::Output;
use std::time::Duration;

use serde_json::json;

use super::{
    PROMPT, SHORT_MEMORY, SOON, STRICT, always, change_all, code, come_to, name, p99, register_all,
    url,
};
use crate::dynamo::{Fate, Proxy};
use crate::harness::{Answer, PATIENCE, Server, eventually, tinyns};
use crate::redis::{Fleet, LINES, LONG_MEMORY, followed, setup};

/// What `tinyns health` says of a server.
fn health(server: &Server, args: &[&str]) -> Output {
    let url = format!("http://{}", server.admin);
    let mut command = tinyns();
    command.args(["health", "--server", &url]).args(args);
    command.output().unwrap()
}

/// The table fails in some way.
fn table_fails(fate: &Fate) {
    const LINKS: usize = 10;
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let node = || {
        let setup = setup(&proxy.url(), fleet.redis.url(), LINES);
        followed(setup.section(LONG_MEMORY).start())
    };
    let (one, two) = (node(), node());
    register_all(&one, LINKS);
    let unread = "unread.s.example.com";
    fleet.emulator.insert(unread, "https://example.net/unread");
    // Half of them are in memory of the first as well.
    come_to(&[&one], LINKS / 2, 0, Duration::ZERO);

    proxy.all(fate.clone());
    for server in [&one, &two] {
        let p99 = p99(server, LINKS, 300, 0);
        assert!(p99 < PROMPT, "{p99:?}");
        let unknown = server.answer(unread);
        assert!(matches!(unknown, Answer::Unknown(Some(_))), "{unknown:?}");
        let unknown = server.answer("absent.s.example.com");
        assert!(matches!(unknown, Answer::Unknown(Some(_))), "{unknown:?}");
    }
    let new = json!({ "url": "https://example.net/new", "code": "new" });
    std::thread::scope(|scope| {
        // Each may take its whole time.
        let create = scope.spawn(|| one.api("POST", "/v1/links", Some(&new)).status);
        let change = scope.spawn(|| one.redirect_to(&code(0), &url(0, 1)).status);
        let delete = scope.spawn(|| two.remove(&code(1)).status);
        let all = [create, change, delete].map(|call| call.join().unwrap());
        assert_eq!(all, [503; 3]);
    });
    // Redis still answers, so an operator should neither restart the servers nor take them out of service.
    assert_eq!(one.api("GET", "/readyz/changes", None).status, 503);
    let ready = one.api("GET", "/readyz", None);
    assert_eq!(ready.status, 200, "{ready:?}");
    let ready = ready.json();
    assert_eq!(
        (&ready["status"], &ready["serves"]),
        (&json!("degraded"), &json!(true))
    );
    assert_eq!(ready["takes_changes"], false);
    assert!(health(&one, &[]).status.success());
    let answer = health(&one, &["--changes"]);
    let text = String::from_utf8_lossy(&answer.stderr);
    assert!(
        !answer.status.success() && text.contains("degraded"),
        "{text}"
    );
    eventually("metrics tell", PATIENCE, || {
        one.metric("tinyns_serves", &[]) == 1.0 && one.metric("tinyns_takes_changes", &[]) == 0.0
    });
    one.log().wait_for("changes of links are refused");

    proxy.all(Fate::Pass);
    assert!(fleet.emulator.item("new.s.example.com").is_none());
    for server in [&one, &two, &node()] {
        server.wait_for_answer("new.s.example.com", &Answer::Absent, PATIENCE);
        server.wait_for_answer(unread, &Answer::url("https://example.net/unread"), PATIENCE);
        come_to(&[server], LINKS, 0, PATIENCE);
    }
    let held = fleet.redis.held("new.s.example.com");
    assert!(held.is_none_or(|held| held["url"].is_null()));
    assert_eq!(one.api("POST", "/v1/links", Some(&new)).status, 201);
    change_all(&two, LINKS, 1);
    for server in [&one, &two] {
        come_to(&[server], LINKS, 1, SOON);
        server.wait_for_answer(
            "new.s.example.com",
            &Answer::url("https://example.net/new"),
            SOON,
        );
    }
    one.log().wait_for("changes of links are taken again");
    // The outcome of a change that timed out is known some seconds later.
    eventually("all is well", PATIENCE, || {
        let paths = ["/readyz", "/readyz/changes"];
        paths
            .iter()
            .all(|path| one.api("GET", path, None).json()["status"] == "ready")
    });
    assert!(health(&one, &["--changes"]).status.success());
}

#[test]
fn the_table_throttles() {
    table_fails(&Fate::error(400, "ProvisionedThroughputExceededException"));
}

#[test]
fn the_table_is_cut_off() {
    table_fails(&Fate::Cut);
}

#[test]
fn the_table_hangs() {
    table_fails(&Fate::Hang);
}

/// Three servers that hold some links, the last one for a second only, and the proxy before their table.
fn three_with_links(links: usize) -> (Fleet, Proxy, [Server; 3]) {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let node = |memory| {
        let setup = setup(&proxy.url(), fleet.redis.url(), LINES);
        followed(setup.section(memory).start())
    };
    let servers = [LONG_MEMORY, LONG_MEMORY, SHORT_MEMORY].map(node);
    register_all(&servers[0], links);
    come_to(&servers.each_ref(), links, 0, SOON);
    (fleet, proxy, servers)
}

/// Has something done to each of these links at once, and expects 503.
fn all_fail(links: usize, call: impl Fn(usize) -> u16 + Sync) {
    std::thread::scope(|scope| {
        let calls: Vec<_> = (0..links)
            .map(|n| {
                scope.spawn({
                    let call = &call;
                    move || call(n)
                })
            })
            .collect();
        for call in calls {
            assert_eq!(call.join().unwrap(), 503);
        }
    });
}

/// While the table fails, links that all servers hold are registered again, and changed, without success.
fn changes_that_fail_take_nothing_down(fate: &Fate) {
    const LINKS: usize = 10;
    let (fleet, proxy, servers) = three_with_links(LINKS);
    let all = servers.each_ref();
    proxy.all(fate.clone());
    all_fail(LINKS, |number| {
        let same = json!({ "url": url(number, 0), "code": code(number) });
        all[0].api("POST", "/v1/links", Some(&same)).status
    });
    always(&all, LINKS, 0, Duration::from_secs(2));
    all_fail(LINKS, |number| {
        all[0].redirect_to(&code(number), &url(number, 1)).status
    });
    // For longer than a change may take, with what follows it.
    always(&all, LINKS, 0, UNKNOWN);
    proxy.all(Fate::Pass);
    always(&all, LINKS, 0, Duration::from_secs(1));
    eventually("all is known", PATIENCE, || {
        all[0].metric("tinyns_changes_unsettled", &[]) == 0.0
    });
    let fresh = fleet.node();
    always(&[all[0], all[1], all[2], &fresh], LINKS, 0, SOON);
    change_all(all[0], LINKS, 2);
    come_to(&[all[0], all[1], all[2], &fresh], LINKS, 2, SOON);
}

#[test]
fn changes_that_the_table_throttles_do_not_affect_queries() {
    changes_that_fail_take_nothing_down(&Fate::error(400, "ThrottlingException"));
}

#[test]
fn changes_that_are_cut_off_do_not_affect_queries() {
    changes_that_fail_take_nothing_down(&Fate::Cut);
}

#[test]
fn changes_that_hang_do_not_affect_queries() {
    changes_that_fail_take_nothing_down(&Fate::Hang);
}

#[test]
fn a_change_with_an_unknown_outcome_is_seen_when_the_table_is_back_and_the_old_state_until_then() {
    const LINKS: usize = 5;
    let (fleet, proxy, servers) = three_with_links(LINKS);
    let all = servers.each_ref();
    proxy.on_writes(&Fate::LoseReply);
    proxy.on_reads(&Fate::Cut);
    all_fail(LINKS, |number| {
        all[0].redirect_to(&code(number), &url(number, 1)).status
    });
    let made = fleet.emulator.item(&name(0)).unwrap();
    assert_eq!(made["fullUrl"].as_s().unwrap(), &url(0, 1), "it was made");
    let answer = all[0].api("GET", "/readyz", None).json();
    assert!(
        answer["reasons"].to_string().contains("not known yet"),
        "{answer}"
    );
    always(&all, LINKS, 0, UNKNOWN);
    proxy.all(Fate::Pass);
    come_to(&all, LINKS, 1, UNKNOWN);
    let fresh = fleet.node();
    always(
        &[all[0], all[1], all[2], &fresh],
        LINKS,
        1,
        Duration::from_secs(2),
    );
    for number in 0..LINKS {
        let held = fleet.redis.held(&name(number)).unwrap();
        assert_eq!(held["url"], url(number, 1).as_str());
    }
}

/// How long it takes until a server that does not know the outcome of its change has others look again: as long as
/// the table may take to do it.
const UNKNOWN: Duration = Duration::from_secs(15);

#[test]
fn a_change_whose_acknowledgement_is_lost_is_seen_as_it_is_in_the_table() {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let setup = setup(&proxy.url(), fleet.redis.url(), LINES);
    let (one, two) = (followed(setup.section(LONG_MEMORY).start()), fleet.node());
    let (changed, deleted) = (one.register("a", &url(0, 0)), one.register("b", &url(0, 0)));
    for name in [&changed, &deleted] {
        for server in [&one, &two] {
            server.wait_for_answer(name, &Answer::Url(url(0, 0)), SOON);
        }
    }
    // The change was done, whatever the response was.
    proxy.on_writes(&Fate::LoseReply);
    std::thread::scope(|scope| {
        scope.spawn(|| one.redirect_to("a", &url(0, 1)));
        scope.spawn(|| one.remove("b"));
    });
    proxy.all(Fate::Pass);
    for server in [&one, &two, &fleet.node()] {
        server.wait_for_answer(&changed, &Answer::Url(url(0, 1)), UNKNOWN);
        server.wait_for_answer(&deleted, &Answer::Absent, UNKNOWN);
    }
}

#[test]
fn without_redis_and_table_memory_answers_and_readyz_fails() {
    const LINKS: usize = 20;
    let mut fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let setup = setup(&proxy.url(), fleet.redis.url(), STRICT).section(SHORT_MEMORY);
    let server = followed(setup.start());
    register_all(&server, LINKS);
    fleet
        .emulator
        .insert("unread.s.example.com", "https://example.net/unread");
    come_to(&[&server], LINKS, 0, Duration::ZERO);
    fleet.redis.kill();
    proxy.all(Fate::Cut);
    // Beyond the time after which memory looks again.
    std::thread::sleep(Duration::from_millis(1_500));
    let p99 = p99(&server, LINKS, 300, 0);
    assert!(p99 < PROMPT, "{p99:?}");
    let stale = [("tier", "Memory"), ("result", "Stale")];
    // Once for each of them; what was answered is then kept for a second.
    assert!(server.metric("tinyns_link_lookups_total", &stale) >= LINKS as f64);
    for unknown in ["unread.s.example.com", "absent.s.example.com"] {
        let answer = server.answer(unknown);
        assert!(matches!(answer, Answer::Unknown(Some(_))), "{answer:?}");
    }
    assert_eq!(server.api("GET", "/healthz", None).status, 200);
    assert_eq!(server.api("GET", "/readyz", None).status, 503);
    let new = json!({ "url": "https://example.net/new", "code": "new" });
    assert_eq!(server.api("POST", "/v1/links", Some(&new)).status, 503);

    fleet.redis.restart_empty();
    proxy.all(Fate::Pass);
    let answer = Answer::url("https://example.net/unread");
    server.wait_for_answer("unread.s.example.com", &answer, PATIENCE);
    server.wait_for_answer("new.s.example.com", &Answer::Absent, PATIENCE);
    eventually("it is ready", PATIENCE, || {
        server.api("GET", "/readyz", None).status == 200
    });
    followed(server);
}
