//! Simultaneous events: fills and changes, changes on several servers, and the death of a process between two steps
//! of a change. The old value never comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::dynamo::{Fate, Gate, Proxy};
use crate::harness::{Answer, PATIENCE, Server};
use crate::redis::{Fault, Fleet, LINES, LONG_MEMORY, Wire, followed, key, setup};

/// After which a change that was acknowledged is seen by all.
const SOON: Duration = Duration::from_secs(1);
/// How long the reply to a read is held back: as long as it can be without a second try.
const LATE: Duration = Duration::from_millis(350);

/// A server whose way to the table leads through this proxy.
fn behind(proxy: &Proxy, fleet: &Fleet) -> Server {
    let setup = setup(&proxy.url(), fleet.redis.url(), LINES);
    followed(setup.section(LONG_MEMORY).start())
}

/// While the reply to the second server's read of the table is on its way, `change` happens on the first server.
/// Afterwards all servers answer `after`.
fn a_slow_fill_meets(
    before: Option<&str>,
    change: impl Fn(&Server) -> u16,
    (status, after): (u16, &Answer),
) {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let (one, two) = (fleet.node(), behind(&proxy, &fleet));
    let name = "raced.s.example.com";
    for _ in 0..3 {
        one.remove("raced");
        if let Some(url) = before {
            one.register("raced", url);
        }
        // Neither Redis nor memory know it, as after an eviction.
        fleet.redis.cli(&["del", &key(name)]);
        let old = before.map_or(Answer::Absent, Answer::url);
        proxy.on_reads(&Fate::Late(LATE));
        proxy.reads();
        std::thread::scope(|scope| {
            let slow = scope.spawn(|| two.answer(name));
            let end = Instant::now() + PATIENCE;
            while proxy.reads() == 0 {
                assert!(Instant::now() < end, "it does not read");
                std::thread::sleep(Duration::from_millis(5));
            }
            // The old state has been read, or will be in an instant.
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(change(&one), status);
            assert_eq!(one.answer(name), *after, "at once where it was changed");
            // A query from before may get either answer.
            let answer = slow.join().unwrap();
            assert!(answer == old || answer == *after, "{answer:?}");
        });
        proxy.all(Fate::Pass);
        let settled = Instant::now() + SOON;
        two.wait_for_answer(name, after, SOON);
        while Instant::now() < settled {
            assert_eq!(two.answer(name), *after);
            assert_eq!(one.answer(name), *after);
            std::thread::sleep(Duration::from_millis(20));
        }
        // One that has nothing in memory has it from Redis or from the table.
        let held = fleet.redis.held(name);
        let held = held.map(|held| match held["url"].as_str() {
            Some(url) => Answer::url(url),
            None => Answer::Absent,
        });
        assert!(held.is_none_or(|held| held == *after));
    }
}

#[test]
fn a_slow_fill_does_not_undo_a_change() {
    let change = |one: &Server| one.redirect_to("raced", "https://example.net/new").status;
    let after = Answer::url("https://example.net/new");
    a_slow_fill_meets(Some("https://example.net/old"), change, (200, &after));
}

#[test]
fn a_slow_fill_does_not_undo_a_deletion() {
    let delete = |one: &Server| one.remove("raced").status;
    a_slow_fill_meets(
        Some("https://example.net/old"),
        delete,
        (204, &Answer::Absent),
    );
}

#[test]
fn a_slow_fill_does_not_undo_a_creation() {
    let create = |one: &Server| {
        let body = json!({ "url": "https://example.net/new", "code": "raced" });
        one.api("POST", "/v1/links", Some(&body)).status
    };
    let after = Answer::url("https://example.net/new");
    a_slow_fill_meets(None, create, (201, &after));
}

#[test]
fn a_slow_fill_does_not_undo_a_deletion_that_redis_has_forgotten() {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let (one, two) = (fleet.node(), behind(&proxy, &fleet));
    let name = one.register("raced", "https://example.net/old");
    fleet.redis.cli(&["del", &key(&name)]);
    proxy.on_reads(&Fate::Late(LATE));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| two.answer(&name));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(one.remove("raced").status, 204);
        // The entry that prevented the fill is evicted.
        fleet.redis.cli(&["del", &key(&name)]);
        slow.join().unwrap();
    });
    proxy.all(Fate::Pass);
    for server in [&one, &two, &fleet.node()] {
        server.wait_for_answer(&name, &Answer::Absent, SOON);
    }
    std::thread::sleep(SOON);
    for server in [&one, &two, &fleet.node()] {
        assert_eq!(server.answer(&name), Answer::Absent);
    }
}

/// The states of a link, one after another. Each can be distinguished from all others.
struct Course {
    code: String,
    name: String,
    /// One change at a time. Whether the link is there.
    lock: Mutex<bool>,
    /// The state that the last change that has begun leads to.
    begun: AtomicU64,
    /// When which state was acknowledged, and by which server.
    acknowledged: RwLock<Vec<(Instant, u64, usize)>>,
    /// How long after it other servers may answer the state before.
    delay: Duration,
}

impl Course {
    fn new(number: usize, delay: Duration) -> Self {
        Self {
            delay,
            code: format!("s{number}"),
            name: format!("s{number}.s.example.com"),
            lock: Mutex::new(false),
            begun: AtomicU64::new(0),
            acknowledged: RwLock::new(vec![(Instant::now(), 0, usize::MAX)]),
        }
    }

    /// In every fifth state there is no link, and so at the beginning.
    fn state(&self, number: u64) -> Answer {
        match number % 5 {
            0 => Answer::Absent,
            _ => Answer::Url(format!("https://example.net/{}/{number}", self.code)),
        }
    }

    /// Goes on to the next state, by this server.
    fn step(&self, servers: &[Server], by: usize) {
        let mut there = self.lock.lock().unwrap();
        let next = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let server = &servers[by];
        let status = match self.state(next) {
            Answer::Url(url) if *there => server.redirect_to(&self.code, &url).status,
            Answer::Url(url) => {
                let body = json!({ "url": url, "code": self.code });
                server.api("POST", "/v1/links", Some(&body)).status
            }
            _ => server.remove(&self.code).status,
        };
        assert!(matches!(status, 200 | 201 | 204), "{status}");
        *there = self.state(next) != Answer::Absent;
        let mut acknowledged = self.acknowledged.write().unwrap();
        acknowledged.push((Instant::now(), next, by));
    }

    /// Asks a server, and checks its answer against the allowed ones.
    fn check(&self, servers: &[Server], by: usize) {
        let asked = Instant::now();
        let answer = servers[by].answer(&self.name);
        let newest = self.begun.load(Ordering::SeqCst);
        let oldest = {
            let acknowledged = self.acknowledged.read().unwrap();
            let binds = |(at, _, server): &&(Instant, u64, usize)| match *server == by {
                true => *at <= asked,
                false => *at + self.delay <= asked,
            };
            let bound = acknowledged.iter().rev().find(binds);
            bound.map_or(0, |(_, number, _)| *number)
        };
        // If there were more changes meanwhile than there are states between two absences, an absence proves
        // nothing. The URLs prove enough.
        let allowed = (oldest..=newest).any(|number| self.state(number) == answer);
        assert!(
            allowed,
            "server {by} tells {answer:?} of {}, but it is in state {oldest} to {newest}",
            self.name
        );
    }
}

/// Writers step through the states of few names on all servers, while readers ask all servers.
/// Other servers may answer an older state for `delay` after a change. Returns the answers that are due at the end.
pub fn stress(
    servers: &[Server],
    (time, delay): (Duration, Duration),
    mut disturb: impl FnMut(),
) -> Vec<(String, Answer)> {
    const NAMES: usize = 3;
    const WRITERS: usize = 3;
    let courses: Vec<_> = (0..NAMES)
        .map(|number| Course::new(number, delay))
        .collect();
    let over = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    let end = Instant::now() + time;
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let _over = SetAtEnd(&over);
                while Instant::now() < end && !over.load(Ordering::Relaxed) {
                    courses[random(NAMES)].step(servers, random(servers.len()));
                    std::thread::sleep(Duration::from_millis(random(60) as u64));
                }
            });
        }
        for by in 0..servers.len() {
            let (courses, over, checks) = (&courses, &over, &checks);
            scope.spawn(move || {
                let _over = SetAtEnd(over);
                while Instant::now() < end && !over.load(Ordering::Relaxed) {
                    courses[random(NAMES)].check(servers, by);
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while Instant::now() < end && !over.load(Ordering::Relaxed) {
            disturb();
        }
    });
    std::thread::sleep(delay);
    assert!(checks.into_inner() > 100);
    let last = courses.iter().map(|course| {
        let last = course.begun.load(Ordering::SeqCst);
        assert!(last > 10, "{last} changes are no stress");
        for server in servers {
            assert_eq!(server.answer(&course.name), course.state(last));
        }
        (course.name.clone(), course.state(last))
    });
    last.collect()
}

/// A random number.
fn random(below: usize) -> usize {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_ne_bytes(bytes) as usize % below
}

/// Ends the others when one of them fails.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn under_stress_no_server_returns_to_an_older_state() {
    let fleet = Fleet::start();
    let proxies = [Proxy::spawn(&fleet.emulator), Proxy::spawn(&fleet.emulator)];
    let servers = proxies.each_ref().map(|proxy| behind(proxy, &fleet));
    let last = stress(&servers, (Duration::from_secs(8), SOON), || {
        for proxy in &proxies {
            let late = Duration::from_millis(random(200) as u64);
            proxy.on_reads(&match random(3) {
                0 => Fate::Pass,
                1 => Fate::Delay(late),
                _ => Fate::Late(late),
            });
            proxy.on_writes(&match random(3) {
                0 => Fate::Late(late),
                _ => Fate::Pass,
            });
        }
        // Races need reads of the table, so Redis forgets one name after another.
        if random(2) == 0 {
            let name = format!("s{}.s.example.com", random(3));
            fleet.redis.cli(&["del", &key(&name)]);
        }
        std::thread::sleep(Duration::from_millis(10));
    });
    let fresh = fleet.node();
    for (name, answer) in last {
        assert_eq!(fresh.answer(&name), answer);
    }
}

/// How long servers may answer an older state while the connections to Redis are bad: until a server notices that it
/// receives nothing, and until another server has announced what it could not announce before.
const NOTICED: Duration = Duration::from_secs(5);

#[test]
fn under_stress_with_bad_connections_to_redis_no_server_returns_to_an_older_state_for_long() {
    let fleet = Fleet::start();
    let wires = [(); 2].map(|()| Wire::to(fleet.redis.address()));
    let proxies = [(); 2].map(|()| Proxy::spawn(&fleet.emulator));
    let servers = [0, 1].map(|number| {
        let setup = setup(&proxies[number].url(), wires[number].url(), LINES);
        followed(setup.section(LONG_MEMORY).start())
    });
    let last = stress(&servers, (Duration::from_secs(10), NOTICED), || {
        let late = Duration::from_millis(random(100) as u64);
        proxies[random(2)].on_reads(&Fate::Late(late));
        let wire = &wires[random(2)];
        wire.suffer(match random(4) {
            0 => Fault::Delay(late),
            1 => Fault::Hang,
            2 => Fault::Cut,
            _ => Fault::None,
        });
        std::thread::sleep(Duration::from_millis(random(400) as u64));
        wire.suffer(Fault::None);
        match random(4) {
            0 => drop(fleet.redis.cli(&["flushall"])),
            1 => std::thread::sleep(Duration::from_millis(random(1_500) as u64)),
            _ => {}
        }
    });
    let fresh = fleet.node();
    for (name, answer) in last {
        assert_eq!(fresh.answer(&name), answer);
    }
}

/// Memory that is refreshed after two seconds. For this time other servers may answer the old state of a link whose
/// change could not be announced.
const REFRESHED: &str = "[cache]\nrefresh = 2\nabsent = 2\n";
const REFRESH: Duration = Duration::from_secs(2);

/// How long the claim of a server that has died stands in its way, with a reserve.
const CLAIM: Duration = Duration::from_secs(22);
/// `[redis]` of servers for which a link lasts only so long there.
const KEEP: &str = "timeout_ms = 500\nwarm_load = false\nkeep = 5\n";
const KEPT: Duration = Duration::from_secs(5);

/// The kinds of change, each of a link of its own.
const CODES: [&str; 3] = ["changed", "deleted", "created"];

fn name(code: &str) -> String {
    format!("{code}.s.example.com")
}

fn before() -> [Answer; 3] {
    let old = Answer::url("https://example.net/old");
    [old.clone(), old, Answer::Absent]
}

fn after() -> [Answer; 3] {
    let new = Answer::url("https://example.net/new");
    [new.clone(), Answer::Absent, new]
}

/// Makes one of the changes; the status, if there is an answer.
fn make(server: &Server, code: &str) -> Option<u16> {
    let (url, path) = ("https://example.net/new", format!("/v1/links/{code}"));
    let reply = match code {
        "changed" => server.try_api("PATCH", &path, Some(&json!({ "url": url }))),
        "deleted" => server.try_api("DELETE", &path, None),
        _ => {
            let body = json!({ "url": url, "code": code });
            server.try_api("POST", "/v1/links", Some(&body))
        }
    };
    reply.map(|reply| reply.status)
}

/// Three servers that all hold the state before; the changes will be made by the first.
fn ready_to_change(fleet: &Fleet, dying: Server) -> [Server; 3] {
    let node = || followed(fleet.setup(KEEP).section(REFRESHED).start());
    let servers = [dying, node(), node()];
    for code in ["changed", "deleted"] {
        servers[1].register(code, "https://example.net/old");
    }
    for server in &servers {
        for (code, answer) in CODES.iter().zip(before()) {
            server.wait_for_answer(&name(code), &answer, SOON);
        }
    }
    servers
}

/// Waits until all servers answer this for all links.
fn come_to(servers: &[&Server], outcome: &[Answer; 3], patience: Duration) {
    let end = Instant::now() + patience;
    for server in servers {
        for (code, answer) in CODES.iter().zip(outcome) {
            let left = end.saturating_duration_since(Instant::now());
            server.wait_for_answer(&name(code), answer, left);
        }
    }
}

/// They answer nothing else for this time.
fn stays_so(servers: &[&Server], outcome: &[Answer; 3], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        come_to(servers, outcome, Duration::ZERO);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The first server dies while all its changes are held up, when the table has done them or not. The others come to
/// answer the outcome, and nothing else for some time.
fn dies_in_its_changes(held: impl Fn(Gate) -> Fate, outcome: &[Answer; 3], time: Duration) {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let dying = behind(&proxy, &fleet);
    let [mut dying, other, another] = ready_to_change(&fleet, dying);
    let gate = Gate::new();
    proxy.on_writes(&held(gate.clone()));
    std::thread::scope(|scope| {
        let calls = CODES.map(|code| scope.spawn(|| make(&dying, code)));
        gate.wait(CODES.len());
        // The table has done the changes that were passed on.
        std::thread::sleep(Duration::from_millis(300));
        dying.signal(Signal::SIGKILL);
        assert_eq!(calls.map(|call| call.join().unwrap()), [None; 3]);
    });
    drop(proxy);
    dying.crash();
    // Nothing was acknowledged, so the old state is allowed; but only for some time.
    let fresh = fleet.node();
    come_to(&[&other, &another, &fresh], outcome, REFRESH + SOON);
    stays_so(&[&other, &another, &fresh], outcome, time);
    // The changes can be made again, or are found to be done.
    let statuses = if *outcome == before() {
        [200, 204, 201]
    } else {
        [200, 404, 200]
    };
    for (number, code) in CODES.iter().enumerate() {
        assert_eq!(make(&other, code), Some(statuses[number]), "{code}");
        for server in [&other, &another, &fresh] {
            server.wait_for_answer(&name(code), &after()[number], SOON);
        }
    }
}

#[test]
fn a_server_dies_before_its_changes_reach_the_table() {
    dies_in_its_changes(Fate::Hold, &before(), KEPT);
}

#[test]
fn a_server_dies_when_its_changes_are_in_the_table_and_nowhere_else() {
    // Also when the dead server's entries in Redis expire.
    dies_in_its_changes(Fate::HoldReply, &after(), CLAIM);
}

/// The first server loses Redis before or in its changes, acknowledges them, and dies.
fn dies_behind_its_changes(lose_redis_first: bool, patience: Duration) {
    let fleet = Fleet::start();
    let (proxy, wire) = (
        Proxy::spawn(&fleet.emulator),
        Wire::to(fleet.redis.address()),
    );
    let dying = setup(&proxy.url(), wire.url(), KEEP).section(REFRESHED);
    let [mut dying, other, another] = ready_to_change(&fleet, followed(dying.start()));
    if lose_redis_first {
        wire.suffer(Fault::Cut);
    }
    let gate = Gate::new();
    proxy.on_writes(&Fate::HoldReply(gate.clone()));
    std::thread::scope(|scope| {
        let calls = CODES.map(|code| scope.spawn(|| make(&dying, code)));
        gate.wait(CODES.len());
        wire.suffer(Fault::Cut);
        gate.open();
        let statuses = calls.map(|call| call.join().unwrap());
        assert_eq!(statuses, [Some(200), Some(204), Some(201)]);
    });
    for (code, answer) in CODES.iter().zip(after()) {
        assert_eq!(dying.answer(&name(code)), answer);
    }
    dying.crash();
    let fresh = fleet.node();
    come_to(&[&other, &another, &fresh], &after(), patience);
    stays_so(&[&other, &another, &fresh], &after(), KEPT);
}

#[test]
fn a_server_loses_redis_in_its_changes_and_dies() {
    dies_behind_its_changes(false, REFRESH + SOON);
}

#[test]
fn a_server_loses_redis_before_its_changes_and_dies() {
    // Redis still holds the old state, and no server knows a newer one.
    dies_behind_its_changes(true, KEPT + REFRESH + SOON);
}

#[test]
fn a_server_restarted_after_a_kill_answers_every_acknowledged_change() {
    let fleet = Fleet::start();
    let proxy = Proxy::spawn(&fleet.emulator);
    let dying = behind(&proxy, &fleet);
    let [mut dying, other, another] = ready_to_change(&fleet, dying);
    for round in 0..5 {
        let url = format!("https://example.net/{round}");
        assert_eq!(dying.redirect_to("changed", &url).status, 200);
        dying = followed(dying.crash_and_restart());
        for server in [&dying, &other, &another] {
            server.wait_for_answer(&name("changed"), &Answer::url(&url), SOON);
        }
    }
}
