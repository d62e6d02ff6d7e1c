//! A store whose links differ as those of people do.
//!
//! What a link has is chosen from ranks: rank 1 is the most frequent, and rank `n` about `n` times as rare (Zipf's law).
//! So each filter has values that many links have, some, few, and none.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use futures_util::future::join_all;
use tinyns::base::clock::{Clock, UnixMillis, UnixTime};
use tinyns::link::{About, AboutChange, Code, LinkName, Note, Origin, Tags, TargetUrl, Title};
use tinyns::store::audit::{Action, Actor, Event, Object, Retention};
use tinyns::store::{Change, Created, NewLink, SqliteStore, Store};
use tokio::runtime::Runtime;

/// The zone with nearly all links, and a small one beside it.
pub const ZONE: &str = "s.example.com";
pub const SMALL_ZONE: &str = "t.example.com";
/// Every so many links, one is in the small zone.
const SMALL_ZONE_EACH: u64 = 1_000;

pub const HOSTS: usize = 20_000;
pub const CREATORS: usize = 200;
pub const TAGS: usize = 2_000;
pub const WORDS: usize = 5_000;

/// A tag that each tenth link has, but none of those with the most frequent host.
pub const CAMPAIGN: &str = "campaign";
/// The first links of this number, evenly spread, have a creator of their own, so that it is rare.
pub const RARE_CREATOR: &str = "visitor";
const RARE_LINKS: u64 = 20;

const DAY: u64 = 24 * 60 * 60;
/// Over how long the links were made.
const SPAN: u64 = 390 * DAY;
/// How many registrations are under way at once: as many as the queue of the store takes.
const AT_ONCE: usize = 1_000;
/// More than the default, so that the log is not pruned while it is measured.
pub const MAX_ENTRIES: u64 = 10_000_000;

const SYLLABLES: &str = "an ar au ba be bi bro ca ce chi clo con cre da de di dor du el en er es fa fi flo for \
    ga ge gra ha he hi ho in is it ja ka ki ko la le li lo lu ma me mi mo mon na ne ni no nu on or pa pe pi plo pre ra \
    re ri ro ru sa se shi sol sta ste su ta te ter ti to tra tri tu un ur va ve vi vo wa we wi win ya yo za ze";
/// Characters of Japanese titles.
const KANJI: &str = "東京都大阪市名古屋日本語新聞春夏秋冬山川海空花鳥風月学校会社電車時間店料理映画音楽写真旅行天気\
    世界経済政治文化歴史科学技術情報教育健康生活家族友達仕事休日祭";

/// See the [module](self).
pub struct Population {
    pub links: u64,
    words: Vec<String>,
    now: u64,
}

/// A rank from 1 to `ranks`.
fn rank(random: &mut Rng, ranks: usize) -> usize {
    (ranks as f64).powf(random.f64()) as usize
}

impl Population {
    pub fn new(links: u64) -> Self {
        let mut random = Rng::with_seed(7);
        let syllables: Vec<&str> = SYLLABLES.split_whitespace().collect();
        let mut word = || {
            let count = random.usize(2..=4);
            let mut next = || syllables[random.usize(..syllables.len())];
            (0..count).map(|_| next()).collect::<String>()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            links,
            words: (0..=WORDS).map(|_| word()).collect(),
            now: now.as_secs(),
        }
    }

    /// The word of a rank; words from a third of the ranks on have an umlaut.
    pub fn word(&self, rank: usize) -> &str {
        &self.words[rank]
    }

    pub fn host(&self, rank: usize) -> String {
        let ends = ["com", "org", "net", "de", "co.uk"];
        let word = self.word(rank % WORDS);
        format!("www.{word}{rank}.{}", ends[rank % ends.len()])
    }

    pub fn creator(rank: usize) -> String {
        match rank {
            1 => "admin".into(),
            _ => format!("editor-{rank}"),
        }
    }

    pub fn tag(&self, rank: usize) -> String {
        format!("{}-{rank}", self.word(rank))
    }

    /// The code of a link: eight digits that look random, and differ for different numbers.
    pub fn code(number: u64) -> String {
        // Odd, so it has an inverse below each power of two.
        let mut left = (number * 0x9_E377_9B97 + 12_345) & ((1 << 41) - 1);
        let digits = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut code = [0; 8];
        for digit in code.iter_mut().rev() {
            *digit = digits[(left % 36) as usize];
            left /= 36;
        }
        code.map(char::from).iter().collect()
    }

    fn title(&self, random: &mut Rng) -> Option<String> {
        if random.bool() {
            return None;
        }
        if random.u8(..) < 12 {
            let kanji: Vec<char> = KANJI.chars().collect();
            let length = random.usize(2..12);
            return Some(
                (0..length)
                    .map(|_| kanji[rank(random, kanji.len() - 1)])
                    .collect(),
            );
        }
        let is_german = random.u8(..) < 25;
        let words = (0..random.usize(3..8)).map(|_| self.word(rank(random, WORDS)));
        let mut title = words.collect::<Vec<_>>().join(" ");
        title[..1].make_ascii_uppercase();
        Some(match is_german {
            true => title
                .replace("or", "ör")
                .replace("un", "ün")
                .replace("an", "Än"),
            false => title,
        })
    }

    /// The URL of a link. Its end names its number.
    pub fn url(&self, number: u64) -> String {
        let mut random = Rng::with_seed(number);
        self.url_by(number, &mut random).1
    }

    /// The rank of the host, and the URL.
    fn url_by(&self, number: u64, random: &mut Rng) -> (usize, String) {
        let host = rank(random, HOSTS);
        let mut word = || self.word(rank(random, WORDS));
        let (first, second, third) = (word(), word(), word());
        let name = self.host(host);
        let url = format!("https://{name}/{first}/{second}-{third}?id={number:07}");
        (host, url)
    }

    fn link(&self, number: u64) -> (NewLink, u64) {
        let mut random = Rng::with_seed(number);
        let (host, url) = self.url_by(number, &mut random);
        let mut tags: Vec<String> = Vec::new();
        if random.u8(..) < 102 {
            let count = random.usize(1..=3);
            tags.extend((0..count).map(|_| self.tag(rank(&mut random, TAGS))));
        }
        if host > 1 && random.u8(..) < 26 {
            tags.push(CAMPAIGN.into());
        }
        let creator = match number % (self.links / RARE_LINKS).max(1) {
            7 => RARE_CREATOR.to_owned(),
            _ => Self::creator(rank(&mut random, CREATORS)),
        };
        let note = (random.u8(..) < 13).then(|| Note::parse("for the newsletter").unwrap());
        let title = self
            .title(&mut random)
            .map(|title| Title::parse(&title).unwrap());
        // Not longer ago than ended links are kept.
        let expires_at = match random.u8(..) {
            0..6 => Some(UnixTime(self.now - random.u64(1..5 * DAY))),
            6..32 => Some(UnixTime(self.now + random.u64(DAY..1_000 * DAY))),
            _ => None,
        };
        let zone = match number % SMALL_ZONE_EACH {
            1 => SMALL_ZONE,
            _ => ZONE,
        };
        let tags = Tags::parse(tags.iter().map(String::as_str)).unwrap();
        let new = NewLink {
            name: name(number, zone),
            target: TargetUrl::parse(&url).unwrap(),
            created_by: Actor {
                address: Some([192, 0, 2, number as u8].into()),
                request_id: Some(format!("{number:016x}").into()),
                ..Actor::from(&*creator)
            },
            expires_at,
            ttl: None,
            about: About::new(title, tags, note),
            destinations: None,
            withheld: None,
        };
        let span = u128::from(SPAN) * 1_000_000;
        let at = span * u128::from(number) / u128::from(self.links);
        (new, (self.now - SPAN) * 1_000_000 + at as u64)
    }

    /// Makes the store, and waits until its text index is complete.
    pub fn make(&self, path: &Path) {
        let retention = Retention {
            keep: 400 * DAY,
            max_entries: MAX_ENTRIES,
        };
        let store =
            SqliteStore::open_with(path, Clock::default(), Some(retention), &|_| {}).unwrap();
        let runtime = Runtime::new().unwrap();
        let numbers: Vec<u64> = (0..self.links).collect();
        for numbers in numbers.chunks(AT_ONCE) {
            let made = numbers.iter().map(|number| {
                let (new, now) = self.link(*number);
                store.create(new, now)
            });
            for made in runtime.block_on(join_all(made)) {
                assert!(matches!(made.unwrap(), Created::New(_)));
            }
        }
        runtime.block_on(self.change_some(&store));
        let noted = rusqlite::Connection::open(path).unwrap();
        let left = || -> i64 {
            let left = noted.query_row("SELECT count(*) FROM link_todo", [], |row| row.get(0));
            left.unwrap()
        };
        while left() > 0 {
            thread::sleep(Duration::from_millis(100));
        }
        drop(noted);
        runtime.block_on(store.close());
    }

    /// A hundredth of the links is changed, some are deleted, and there are some tokens.
    async fn change_some(&self, store: &SqliteStore) {
        let now = self.now * 1_000_000;
        let ann = Actor::from("editor-3");
        let edit = || Change {
            about: AboutChange {
                title: Some(Title::parse("Edited title").ok()),
                ..AboutChange::default()
            },
            ..Change::default()
        };
        let changed: Vec<u64> = (0..self.links).step_by(100).collect();
        for numbers in changed.chunks(AT_ONCE) {
            let names: Vec<_> = numbers.iter().map(|n| name(n + 2, ZONE)).collect();
            let calls = names
                .iter()
                .map(|name| store.change(name, None, edit(), &ann, now));
            join_all(calls)
                .await
                .into_iter()
                .for_each(|done| drop(done.unwrap()));
        }
        for number in (0..self.links).step_by(20_000) {
            store
                .delete(&name(number + 5, ZONE), None, &ann, now)
                .await
                .unwrap();
        }
        for number in 0..50 {
            let event = Event {
                at: UnixMillis(now / 1_000),
                actor: Actor::from("admin"),
                action: Action::TokenAdded,
                object: Object::Token(format!("token-{number}").into()),
                before: None,
                after: None,
            };
            let key = format!("bench-{number}");
            let put = store.put_document_noting(&key, None, b"-".into(), Some(event));
            put.await.unwrap();
        }
    }
}

fn name(number: u64, zone: &str) -> LinkName {
    let code = Code::parse(&Population::code(number)).unwrap();
    LinkName::new(&code, &Origin::parse(zone).unwrap())
}
