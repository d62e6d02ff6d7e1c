//! The bad days of Redis and of the table: no answer is wrong, what can be known is answered, and
//! afterwards everything is as before without a restart.

use std::process::Output;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::dynamo::{Fate, Proxy};
use crate::harness::{PATIENCE, Server, Told, eventually, tinyns};
use crate::redis::{Fault, Fleet, LINES, LONG_MEMORY, RedisServer, Wire, followed, key, setup};

/// How long a change may take to be seen by others while all is well.
const SOON: Duration = Duration::from_secs(1);
/// The same for servers that cannot hear of changes: they look again after a second, and what they
/// look at takes its time.
const BY_LOOKING: Duration = Duration::from_secs(3);
/// How long after Redis is back there may still be answers from what it held before.
const SETTLING: Duration = Duration::from_secs(2);
/// What 99 of 100 queries may take while something is down. Resolvers wait for a second and more;
/// tinyns gives up after 1.5 s.
const PROMPT: Duration = Duration::from_millis(500);

/// `[redis]` with the time-out of real life.
const STRICT: &str = "warm_load = false\n";
/// Memory that has to look behind itself all the time.
const SHORT_MEMORY: &str = "[cache]\nrefresh = 1\nabsent = 1\n";

fn code(number: usize) -> String {
    format!("k{number}")
}

fn name(number: usize) -> String {
    format!("{}.s.example.com", code(number))
}

fn url(number: usize, round: usize) -> String {
    format!("https://example.net/{number}/{round}")
}

/// Asks for all these links in turn, and returns how long the slowest but one in a hundred took.
fn p99(server: &Server, links: usize, queries: usize, round: usize) -> Duration {
    let ask = |query: usize| {
        let number = query % links;
        let begin = Instant::now();
        assert_eq!(server.told(&name(number)), Told::Url(url(number, round)));
        begin.elapsed()
    };
    let mut times: Vec<_> = (0..queries).map(ask).collect();
    times.sort_unstable();
    times[queries * 99 / 100 - 1]
}

fn register_all(server: &Server, links: usize) {
    for number in 0..links {
        server.register(&code(number), &url(number, 0));
    }
}

fn change_all(server: &Server, links: usize, round: usize) {
    for number in 0..links {
        let changed = server.redirect_to(&code(number), &url(number, round));
        assert_eq!(changed.status, 200, "{changed:?}");
    }
}

/// For as long as `time` no server tells anything but this round of any link.
fn always(servers: &[&Server], links: usize, round: usize, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for number in 0..links {
            for server in servers {
                assert_eq!(server.told(&name(number)), Told::Url(url(number, round)));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until all servers tell this round of all links.
fn come_to(servers: &[&Server], links: usize, round: usize, patience: Duration) {
    let end = Instant::now() + patience;
    for number in 0..links {
        for server in servers {
            let left = end.saturating_duration_since(Instant::now());
            server.comes_to_tell(&name(number), &Told::Url(url(number, round)), left);
        }
    }
}

/// Redis goes away in some way, links are changed meanwhile, and it comes back in some way.
fn redis_goes_and_comes(go: impl Fn(&mut RedisServer), come: impl Fn(&mut RedisServer)) {
    const LINKS: usize = 20;
    let mut fleet = Fleet::start();
    let strict = |memory| followed(fleet.setup(STRICT).section(memory).start());
    let (one, two) = (strict(LONG_MEMORY), strict(SHORT_MEMORY));
    // It will have nothing in memory when Redis comes back.
    let fresh = strict(LONG_MEMORY);
    register_all(&one, LINKS);
    come_to(&[&one, &two], LINKS, 0, SOON);
    fleet.redis.save();

    go(&mut fleet.redis);
    for server in [&one, &two] {
        let p99 = p99(server, LINKS, 300, 0);
        assert!(p99 < PROMPT, "{p99:?}");
        assert_eq!(server.api("GET", "/readyz", None).status, 200);
    }
    eventually("it is noticed", PATIENCE, || {
        one.told("absent.s.example.com") == Told::Absent
            && one.api("GET", "/readyz", None).json()["redis"] == "down"
    });
    change_all(&one, LINKS, 1);
    // At once where it was changed; elsewhere by looking, since nobody can tell.
    come_to(&[&one], LINKS, 1, Duration::ZERO);
    come_to(&[&two], LINKS, 1, BY_LOOKING);
    let late = two.register("late", "https://example.net/late");
    one.comes_to_tell(&late, &Told::url("https://example.net/late"), BY_LOOKING);

    come(&mut fleet.redis);
    std::thread::sleep(SETTLING);
    always(&[&fresh, &one, &two], LINKS, 1, Duration::from_secs(2));
    let servers = [followed(one), followed(two), followed(fresh)];
    for server in &servers {
        assert_eq!(server.api("GET", "/readyz", None).json()["redis"], "up");
        assert_eq!(server.metric("tinyns_redis_breakers_open", &[]), 0.0);
    }
    let servers = servers.each_ref();
    change_all(servers[1], LINKS, 2);
    come_to(&servers, LINKS, 2, SOON);
    // And what Redis holds now is what it should.
    for number in 0..LINKS {
        let held = fleet.redis.held(&name(number)).unwrap();
        assert_eq!(held["url"], url(number, 2).as_str());
    }
}

#[test]
fn redis_stops_and_comes_back_empty() {
    redis_goes_and_comes(RedisServer::kill, RedisServer::restart_empty);
}

#[test]
fn redis_stops_and_comes_back_with_what_it_had() {
    redis_goes_and_comes(RedisServer::kill, RedisServer::restart_with_saved);
}

#[test]
fn redis_hangs_and_goes_on() {
    redis_goes_and_comes(|redis| redis.pause(), |redis| redis.resume());
}

#[test]
fn redis_hangs_and_is_replaced() {
    redis_goes_and_comes(|redis| redis.pause(), RedisServer::restart_empty);
}

/// A fleet whose Redis has come back with the first state of all links, after a change of which all
/// servers had been told and which Redis had held: nothing was left to be repaired.
fn redis_has_lost_a_change(links: usize, between: impl Fn(&Server)) -> (Fleet, [Server; 2]) {
    let mut fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    register_all(&one, links);
    come_to(&[&one, &two], links, 0, SOON);
    fleet.redis.save();
    change_all(&one, links, 1);
    come_to(&[&one, &two], links, 1, SOON);
    between(&one);
    fleet.redis.restart_with_saved();
    (fleet, [one, two])
}

#[test]
fn redis_loses_its_last_minutes() {
    const LINKS: usize = 20;
    let (fleet, [one, two]) = redis_has_lost_a_change(LINKS, |_| {});
    std::thread::sleep(SETTLING);
    // One that has nothing in memory comes first: what the others know must not be needed.
    always(&[&fleet.node()], LINKS, 1, Duration::from_secs(1));
    always(&[&one, &two], LINKS, 1, Duration::from_secs(1));
    always(&[&fleet.node()], LINKS, 1, Duration::ZERO);
}

#[test]
fn what_memory_holds_is_not_undone_by_an_older_redis() {
    const LINKS: usize = 20;
    // Who has made the changes can no longer repair them.
    let dies = |one: &Server| one.signal(Signal::SIGKILL);
    let (_fleet, [_, two]) = redis_has_lost_a_change(LINKS, dies);
    always(&[&two], LINKS, 1, SETTLING);
    assert_eq!(two.metric("tinyns_changes_gaps_total", &[]), 1.0);
}

#[test]
fn a_slow_redis_slows_no_answer_much() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    let setup = setup(&fleet.emulator.url(), wire.url(), STRICT);
    let server = followed(setup.section(SHORT_MEMORY).start());
    register_all(&server, LINKS);
    for fault in [
        Fault::Delay(Duration::from_millis(50)),
        Fault::Delay(Duration::from_millis(300)),
        Fault::Hang,
        Fault::Cut,
    ] {
        wire.suffer(fault);
        let p99 = p99(&server, LINKS, 300, 0);
        assert!(p99 < PROMPT, "{fault:?}: {p99:?}");
    }
    wire.suffer(Fault::None);
    let server = followed(server);
    change_all(&server, LINKS, 1);
    come_to(&[&server], LINKS, 1, Duration::ZERO);
}

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
        let unknown = server.told(unread);
        assert!(matches!(unknown, Told::Unknown(Some(_))), "{unknown:?}");
        let unknown = server.told("absent.s.example.com");
        assert!(matches!(unknown, Told::Unknown(Some(_))), "{unknown:?}");
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
    // Redis answers what it holds, so that nobody should restart the servers or send no queries here.
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
    let told = health(&one, &["--changes"]);
    let text = String::from_utf8_lossy(&told.stderr);
    assert!(
        !told.status.success() && text.contains("degraded"),
        "{text}"
    );
    eventually("metrics tell", PATIENCE, || {
        one.metric("tinyns_serves", &[]) == 1.0 && one.metric("tinyns_takes_changes", &[]) == 0.0
    });
    one.log().wait_for("changes of links are refused");

    proxy.all(Fate::Pass);
    assert!(fleet.emulator.item("new.s.example.com").is_none());
    for server in [&one, &two, &node()] {
        server.comes_to_tell("new.s.example.com", &Told::Absent, PATIENCE);
        server.comes_to_tell(unread, &Told::url("https://example.net/unread"), PATIENCE);
        come_to(&[server], LINKS, 0, PATIENCE);
    }
    let held = fleet.redis.held("new.s.example.com");
    assert!(held.is_none_or(|held| held["url"].is_null()));
    assert_eq!(one.api("POST", "/v1/links", Some(&new)).status, 201);
    change_all(&two, LINKS, 1);
    for server in [&one, &two] {
        come_to(&[server], LINKS, 1, SOON);
        server.comes_to_tell(
            "new.s.example.com",
            &Told::url("https://example.net/new"),
            SOON,
        );
    }
    one.log().wait_for("changes of links are taken again");
    // What became of a change that timed out is known some seconds later.
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
fn changes_that_the_table_throttles_take_nothing_down() {
    changes_that_fail_take_nothing_down(&Fate::error(400, "ThrottlingException"));
}

#[test]
fn changes_that_are_cut_off_take_nothing_down() {
    changes_that_fail_take_nothing_down(&Fate::Cut);
}

#[test]
fn changes_that_hang_take_nothing_down() {
    changes_that_fail_take_nothing_down(&Fate::Hang);
}

#[test]
fn a_change_that_was_made_though_nobody_knows_is_seen_when_the_table_is_back_and_the_old_state_until_then()
 {
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
    let told = all[0].api("GET", "/readyz", None).json();
    assert!(
        told["reasons"].to_string().contains("not known yet"),
        "{told}"
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

/// How long it takes until a server that does not know what became of its change has others look
/// again: as long as the table may take to have done it.
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
            server.comes_to_tell(name, &Told::Url(url(0, 0)), SOON);
        }
    }
    // Whatever the caller is told, it was done.
    proxy.on_writes(&Fate::LoseReply);
    std::thread::scope(|scope| {
        scope.spawn(|| one.redirect_to("a", &url(0, 1)));
        scope.spawn(|| one.remove("b"));
    });
    proxy.all(Fate::Pass);
    for server in [&one, &two, &fleet.node()] {
        server.comes_to_tell(&changed, &Told::Url(url(0, 1)), UNKNOWN);
        server.comes_to_tell(&deleted, &Told::Absent, UNKNOWN);
    }
}

#[test]
fn with_both_gone_memory_answers_on_and_readiness_tells() {
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
        let told = server.told(unknown);
        assert!(matches!(told, Told::Unknown(Some(_))), "{told:?}");
    }
    assert_eq!(server.api("GET", "/healthz", None).status, 200);
    assert_eq!(server.api("GET", "/readyz", None).status, 503);
    let new = json!({ "url": "https://example.net/new", "code": "new" });
    assert_eq!(server.api("POST", "/v1/links", Some(&new)).status, 503);

    fleet.redis.restart_empty();
    proxy.all(Fate::Pass);
    let told = Told::url("https://example.net/unread");
    server.comes_to_tell("unread.s.example.com", &told, PATIENCE);
    server.comes_to_tell("new.s.example.com", &Told::Absent, PATIENCE);
    eventually("it is ready", PATIENCE, || {
        server.api("GET", "/readyz", None).status == 200
    });
    followed(server);
}

/// A server is cut off from Redis for some seconds, in which another changes links; `meanwhile`
/// happens to Redis before it is back.
fn is_cut_off(fault: Fault, meanwhile: impl Fn(&RedisServer)) -> Server {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    let away = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
    let (one, away) = (fleet.node(), followed(away.start()));
    register_all(&one, LINKS);
    let gone = one.register("gone", "https://example.net/gone");
    let (new, url_of_new) = ("new.s.example.com", Told::url("https://example.net/new"));
    come_to(&[&one, &away], LINKS, 0, SOON);
    assert_eq!(away.told(&gone), Told::url("https://example.net/gone"));
    assert_eq!(away.told(new), Told::Absent);

    wire.suffer(fault);
    // It does not know at once that nothing reaches it.
    eventually("it is noticed", PATIENCE, || {
        away.metric("tinyns_changes_following", &[]) == 0.0
    });
    change_all(&one, LINKS, 1);
    assert_eq!(one.remove("gone").status, 204);
    one.register("new", "https://example.net/new");
    // What it is asked for meanwhile it looks up in the table itself; the rest stays in memory.
    come_to(&[&away], LINKS / 2, 1, BY_LOOKING);
    meanwhile(&fleet.redis);
    wire.suffer(Fault::None);
    eventually("it follows again", PATIENCE, || {
        away.metric("tinyns_changes_following", &[]) == 1.0
    });
    always(&[&one, &away], LINKS, 1, Duration::from_secs(1));
    assert_eq!(away.told(&gone), Told::Absent);
    assert_eq!(away.told(new), url_of_new);
    away
}

#[test]
fn a_server_cut_off_from_redis_drops_what_changed_meanwhile() {
    let away = is_cut_off(Fault::Cut, |_| {});
    assert_eq!(away.metric("tinyns_changes_gaps_total", &[]), 0.0);
}

#[test]
fn a_server_that_hears_nothing_drops_what_changed_meanwhile() {
    is_cut_off(Fault::Hang, |_| {});
}

#[test]
fn a_server_drops_all_if_the_changes_that_it_missed_are_no_longer_known() {
    let away = is_cut_off(Fault::Cut, |redis| {
        assert_eq!(redis.cli(&["del", "tinyns:changes"]), "1");
    });
    assert_eq!(away.metric("tinyns_changes_gaps_total", &[]), 1.0);
}

#[test]
fn what_a_server_changes_while_it_is_cut_off_from_redis_is_told_when_it_is_back() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let wire = Wire::to(fleet.redis.address());
    let away = setup(&fleet.emulator.url(), wire.url(), STRICT).section(LONG_MEMORY);
    let (one, away) = (fleet.node(), followed(away.start()));
    register_all(&one, LINKS);
    come_to(&[&one, &away], LINKS, 0, SOON);
    wire.suffer(Fault::Cut);
    change_all(&away, LINKS, 1);
    come_to(&[&away], LINKS, 1, Duration::ZERO);
    assert!(away.metric("tinyns_redis_repairs_pending", &[]) >= 1.0);
    wire.suffer(Fault::None);
    come_to(&[&one], LINKS, 1, PATIENCE);
    eventually("all is told", PATIENCE, || {
        away.metric("tinyns_redis_repairs_pending", &[]) == 0.0
    });
    always(
        &[&one, &away, &fleet.node()],
        LINKS,
        1,
        Duration::from_secs(1),
    );
    for number in 0..LINKS {
        let held = fleet.redis.held(&name(number)).unwrap();
        assert_eq!(held["url"], url(number, 1).as_str());
    }
}

#[test]
fn a_flushed_redis_is_filled_again_by_reads() {
    const LINKS: usize = 20;
    let fleet = Fleet::start();
    let (one, two) = (fleet.node(), fleet.node());
    register_all(&one, LINKS);
    come_to(&[&one, &two], LINKS, 0, SOON);
    for round in 1..=3 {
        fleet.redis.cli(&["flushall"]);
        change_all(&one, LINKS / 2, round);
        for number in 0..LINKS {
            let round = if number < LINKS / 2 { round } else { 0 };
            for server in [&one, &two] {
                server.comes_to_tell(&name(number), &Told::Url(url(number, round)), SOON);
            }
        }
    }
    fleet.redis.cli(&["flushall"]);
    let fresh = fleet.node();
    for number in 0..LINKS {
        let round = if number < LINKS / 2 { 3 } else { 0 };
        assert_eq!(fresh.told(&name(number)), Told::Url(url(number, round)));
        let held = fleet.redis.held(&name(number)).unwrap();
        assert_eq!(held["url"], url(number, round).as_str());
    }
    // Evicted one by one, and the stream as well.
    for key in fleet.redis.keys() {
        fleet.redis.cli(&["del", &key]);
    }
    change_all(&two, LINKS, 4);
    come_to(&[&one, &two, &fresh], LINKS, 4, SOON);
    fleet.redis.cli(&["del", "tinyns:changes"]);
    change_all(&one, LINKS, 5);
    come_to(&[&one, &two, &fresh], LINKS, 5, SOON);
    fleet.redis.cli(&["del", &key(&name(0))]);
    assert_eq!(fleet.node().told(&name(0)), Told::Url(url(0, 5)));
}

#[test]
fn servers_that_register_at_once_are_both_told_the_truth_behind_redis() {
    let fleet = Fleet::start();
    let nodes = [&fleet.node(), &fleet.node()];
    let post = |server: &Server, body: &serde_json::Value| {
        let reply = server.api("POST", "/v1/links", Some(body));
        (reply.status, reply.json())
    };
    let at_once = |bodies: [&serde_json::Value; 2]| {
        std::thread::scope(|scope| {
            let a = scope.spawn(|| post(nodes[0], bodies[0]));
            let b = scope.spawn(|| post(nodes[1], bodies[1]));
            let mut both = [a.join().unwrap(), b.join().unwrap()];
            both.sort_by_key(|(status, _)| *status);
            both
        })
    };
    for number in 0..10 {
        // The same URL, whose code nobody chooses.
        let same = json!({ "url": url(number, 0) });
        let [(found, first), (made, second)] = at_once([&same, &same]);
        assert_eq!((found, made), (200, 201));
        assert_eq!(first, second, "one link");
        // Different URLs with one code, whose absence both have in memory.
        for server in nodes {
            assert_eq!(server.told(&name(number)), Told::Absent);
        }
        let body = |round| json!({ "url": url(number, round), "code": code(number) });
        let [(made, link), (refused, _)] = at_once([&body(1), &body(2)]);
        assert_eq!((made, refused), (201, 409));
        let item = fleet.emulator.item(&name(number)).unwrap();
        let truth = item["fullUrl"].as_s().unwrap();
        assert_eq!(link["url"], truth.as_str());
        for server in nodes {
            server.comes_to_tell(&name(number), &Told::url(truth), SOON);
        }
        // Two at once may have left a claim there that ends by itself.
        let held = fleet.redis.held(&name(number)).unwrap();
        let claimed = held["writes"].is_string();
        assert!(claimed || held["url"] == truth.as_str(), "{held}");
    }
}
