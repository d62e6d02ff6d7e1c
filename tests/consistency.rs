//! Three servers on one table and one Redis, with writers and readers, while Redis and the table fail: no answer is
//! older than "Bad days" in docs/operation.md allows, and none is older than an earlier answer.
//!
//! Each name has one writer, which writes through a random server. It notes the value before it sends it, and the
//! time of the acknowledgement. So for each answer it is known by when it was overwritten. `CONSISTENCY_SEED`
//! repeats the order of faults and writes, `CONSISTENCY_SECONDS` sets the duration.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::json;

use crate::dynamo::{Emulator, Fate, Proxy};
use crate::harness::{Answer, PATIENCE, Reply, Server};
use crate::redis::{RedisServer, followed, setup};

const SERVERS: usize = 3;
const WRITERS: usize = 6;
const NAMES: usize = 200;
/// How long it lasts by default, in seconds.
const SECONDS: u64 = 40;
/// What docs/operation.md says: two seconds until a server knows that it is cut off, one more for which it uses what
/// it has, and what a look-up takes at most, 1.5 s.
const DOCUMENTED: Duration = Duration::from_millis(4_500);
/// The delay that a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);
/// For how long a server may take the table for failing after it has recovered.
const RECOVERY: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// A write that was sent.
#[derive(Clone, Debug)]
struct Write {
    /// None for a deletion.
    url: Option<String>,
    /// When the server acknowledged it; none if the server said that it does not know.
    acknowledged: Option<Instant>,
    /// The server said that nothing was done.
    void: bool,
}

/// All writes of a name, in their order.
type Log = Mutex<Vec<Write>>;

struct World {
    servers: Vec<Server>,
    logs: Vec<Log>,
    /// While the table fails; the last one may be under way.
    outages: Mutex<Vec<(Instant, Option<Instant>)>>,
    done: AtomicBool,
}

fn code(number: usize) -> String {
    format!("c{number}")
}

impl World {
    fn is_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// How much of a time the table was in order.
    fn healthy(&self, from: Instant, to: Instant) -> Duration {
        let outages = self.outages.lock().unwrap();
        let lost = outages.iter().map(|(begin, end)| {
            let end = end.map_or(to, |end| end + RECOVERY);
            end.min(to).saturating_duration_since((*begin).max(from))
        });
        to.saturating_duration_since(from)
            .saturating_sub(lost.sum())
    }

    /// Creates, changes and deletes the names that are this writer's, by any server.
    fn write(&self, writer: usize, mut rng: Rng) -> usize {
        let mut held = HashMap::new();
        let mut acknowledged = 0;
        for round in 0.. {
            if self.is_done() {
                return acknowledged;
            }
            let number = rng.usize(0..NAMES / WRITERS) * WRITERS + writer;
            let server = &self.servers[rng.usize(0..SERVERS)];
            let is_held: &mut bool = held.entry(number).or_default();
            let url = format!("https://example.net/{number}/{round}");
            let delete = *is_held && rng.u8(0..4) == 0;
            let mut log = self.logs[number].lock().unwrap();
            log.push(Write {
                url: (!delete).then(|| url.clone()),
                acknowledged: None,
                void: false,
            });
            // Answers are judged meanwhile.
            drop(log);
            let reply = match (delete, *is_held) {
                (true, _) => server.try_api("DELETE", &path(number), None),
                (false, true) => {
                    server.try_api("PATCH", &path(number), Some(&json!({ "url": url })))
                }
                (false, false) => {
                    let body = json!({ "url": url, "code": code(number) });
                    server.try_api("POST", "/v1/links", Some(&body))
                }
            };
            let status = reply.as_ref().map(|reply: &Reply| reply.status);
            let mut log = self.logs[number].lock().unwrap();
            match status {
                Some(200 | 201 | 204) => {
                    log.last_mut().unwrap().acknowledged = Some(Instant::now());
                    *is_held = !delete;
                    acknowledged += 1;
                }
                // Nothing was done. An earlier write with an unknown outcome was done or not.
                Some(404 | 409) => {
                    log.last_mut().unwrap().void = true;
                    *is_held = status == Some(409);
                }
                Some(500..) | None => {}
                Some(other) => panic!("{other} for {number}: {reply:?}"),
            }
            drop(log);
            std::thread::sleep(Duration::from_millis(rng.u64(5..40)));
        }
        acknowledged
    }

    /// Asks one server for names at random, and judges its answers. Gives how many there were and the oldest.
    fn read(&self, server: usize, mut rng: Rng) -> Seen {
        let mut seen = Seen::default();
        // The first write of each name that the last answer can have been; 0 for none.
        let mut newest = vec![0; NAMES];
        while !self.is_done() {
            let number = rng.usize(0..NAMES);
            let name = format!("{}.s.example.com", code(number));
            let asked = Instant::now();
            let answer = self.servers[server].answer_within(&name, ANSWER);
            let url = match answer {
                Some(Answer::Url(url)) => Some(url),
                Some(Answer::Absent) => None,
                Some(Answer::Unknown(_)) => {
                    seen.unknown += 1;
                    continue;
                }
                None => panic!("server {server} does not answer for {name}"),
            };
            seen.answers += 1;
            let log = self.logs[number].lock().unwrap();
            let is_it = |at: &usize| match at.checked_sub(1) {
                None => url.is_none(),
                Some(at) => log[at].url == url && !log[at].void,
            };
            let candidates: Vec<usize> = (0..=log.len()).filter(is_it).collect();
            let answer = || format!("server {server}: {name}: {url:?}\n{log:#?}");
            let not_before = candidates.iter().find(|at| **at >= newest[number]);
            let Some(not_before) = not_before else {
                panic!("older than what the server has said before: {}", answer());
            };
            // A deletion that is under way may turn out to have done nothing.
            if url.is_some() || *not_before < log.len() {
                newest[number] = *not_before;
            }
            // The latest that it can be has not been overwritten for the longest.
            let latest = candidates.last().unwrap();
            let overwritten = log[*latest..].iter().find_map(|write| write.acknowledged);
            let age = overwritten.map_or(Duration::ZERO, |at| self.healthy(at, asked));
            if age > seen.oldest.0 {
                seen.oldest = (age, answer());
            }
        }
        seen
    }
}

/// The answers that a reader has seen.
#[derive(Default)]
struct Seen {
    answers: usize,
    unknown: usize,
    /// For how long it had been overwritten, and which answer it was.
    oldest: (Duration, String),
}

fn path(number: usize) -> String {
    format!("/v1/links/{}", code(number))
}

/// One fault, from its begin to its end.
fn fault(world: &World, redis: &mut RedisServer, proxy: &Proxy, rng: &mut Rng) {
    let time = Duration::from_millis(rng.u64(300..3_000));
    let kind = rng.u8(0..6);
    println!("fault {kind} for {time:?}");
    let table = |fate: Fate, reads: bool| {
        world.outages.lock().unwrap().push((Instant::now(), None));
        match reads {
            true => proxy.all(fate),
            false => proxy.on_writes(&fate),
        }
        std::thread::sleep(time);
        proxy.all(Fate::Pass);
        world.outages.lock().unwrap().last_mut().unwrap().1 = Some(Instant::now());
    };
    match kind {
        0 => {
            redis.kill();
            std::thread::sleep(time);
            redis.restart_empty();
        }
        1 => {
            redis.pause();
            std::thread::sleep(time);
            redis.resume();
        }
        2 => drop(redis.cli(&["flushall"])),
        3 => table(
            Fate::error(400, "ProvisionedThroughputExceededException"),
            true,
        ),
        4 => table(Fate::Cut, true),
        _ => table(Fate::LoseReply, false),
    }
    std::thread::sleep(Duration::from_millis(rng.u64(200..2_500)));
}

fn variable(name: &str, default: impl FnOnce() -> u64) -> u64 {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or_else(default, |text| text.parse().unwrap())
}

#[test]
fn no_answer_is_older_than_documented() {
    let seed = variable("CONSISTENCY_SEED", || fastrand::u64(..));
    let time = Duration::from_secs(variable("CONSISTENCY_SECONDS", || SECONDS));
    println!("CONSISTENCY_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let emulator = Emulator::start();
    let proxy = Proxy::spawn(&emulator);
    let mut redis = RedisServer::start();
    let server = || followed(setup(&proxy.url(), redis.url(), "warm_load = false\n").start());
    let world = World {
        servers: (0..SERVERS).map(|_| server()).collect(),
        logs: (0..NAMES).map(|_| Log::default()).collect(),
        outages: Mutex::default(),
        done: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let end = Instant::now() + time;
        let done = Done(&world.done);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (world, rng) = (&world, rng.fork());
                scope.spawn(move || world.write(writer, rng))
            })
            .collect();
        let readers: Vec<_> = (0..SERVERS)
            .map(|server| {
                let (world, rng) = (&world, rng.fork());
                scope.spawn(move || world.read(server, rng))
            })
            .collect();
        while Instant::now() < end {
            fault(&world, &mut redis, &proxy, &mut rng);
        }
        drop(done);
        let acknowledged: usize = writers.into_iter().map(|w| w.join().unwrap()).sum();
        let seen: Vec<Seen> = readers.into_iter().map(|r| r.join().unwrap()).collect();
        for (server, seen) in seen.iter().enumerate() {
            let age = seen.oldest.0;
            println!(
                "server {server}: {} answers, {} unknown, the oldest overwritten {age:?} before",
                seen.answers, seen.unknown
            );
            assert!(seen.answers > 100, "{} answers", seen.answers);
        }
        println!("{acknowledged} writes acknowledged, bound {DOCUMENTED:?} and {SLACK:?}");
        assert!(acknowledged > 100, "{acknowledged} writes");
        let oldest = seen.iter().max_by_key(|seen| seen.oldest.0).unwrap();
        let (age, answer) = &oldest.oldest;
        assert!(*age <= DOCUMENTED + SLACK, "{age:?} old: {answer}");
    });
    // When everything works again, all servers answer what the table has.
    for number in 0..NAMES {
        let name = format!("{}.s.example.com", code(number));
        let item = emulator.item(&name);
        let url = item.as_ref().and_then(|item| item.get("fullUrl"));
        let expected = url.map_or(Answer::Absent, |url| Answer::url(url.as_s().unwrap()));
        for server in &world.servers {
            server.wait_for_answer(&name, &expected, PATIENCE);
        }
        let log = world.logs[number].lock().unwrap();
        let last = log.iter().rposition(|write| write.acknowledged.is_some());
        let last = last.map_or(0, |last| last);
        let possible = log[last..]
            .iter()
            .any(|write| match (&write.url, &expected) {
                _ if write.void => false,
                (Some(url), Answer::Url(answer)) => url == answer,
                (None, Answer::Absent) => true,
                _ => false,
            });
        let never = log.iter().all(|write| write.acknowledged.is_none());
        assert!(
            possible || (never && expected == Answer::Absent),
            "{name}: {expected:?}\n{log:#?}"
        );
    }
}

/// Ends all threads, also where one has failed.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
