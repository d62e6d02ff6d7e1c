//! One denier and one creator over a board in memory, step by step.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;

use super::*;
use crate::store::Watch;

/// The server of a post, and its number.
type PostId = (Box<str>, u64);

#[derive(Debug, Default)]
struct Board {
    leases: Mutex<BTreeMap<Box<str>, u64>>,
    last: Mutex<BTreeMap<Box<str>, u64>>,
    posts: Mutex<HashMap<PostId, Vec<LinkName>>>,
    reads: AtomicUsize,
    /// Whether calls fail.
    away: AtomicBool,
}

impl Board {
    fn reach(&self) -> Result<(), StoreError> {
        match self.away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unreachable("as the test wants it".into())),
            false => Ok(()),
        }
    }

    fn leases(&self) -> usize {
        self.leases.lock().unwrap().len()
    }
}

#[async_trait]
impl FilterBoard for Board {
    async fn register(&self) -> Result<Register, StoreError> {
        self.reach()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        let all = |map: &Mutex<BTreeMap<Box<str>, u64>>| {
            let map = map.lock().unwrap();
            map.iter().map(|(id, n)| (id.clone(), *n)).collect()
        };
        Ok(Register {
            leases: all(&self.leases),
            posts: all(&self.last),
        })
    }

    async fn lease(&self, id: &str, number: u64) -> Result<(), StoreError> {
        self.reach()?;
        self.leases.lock().unwrap().insert(id.into(), number);
        Ok(())
    }

    async fn end_lease(&self, id: &str, number: u64) -> Result<(), StoreError> {
        self.reach()?;
        let mut leases = self.leases.lock().unwrap();
        leases.retain(|other, n| **other != *id || *n != number);
        Ok(())
    }

    async fn post(&self, id: &str, number: u64, names: &[LinkName]) -> Result<(), StoreError> {
        self.reach()?;
        let mut posts = self.posts.lock().unwrap();
        posts.insert((id.into(), number), names.to_vec());
        self.last.lock().unwrap().insert(id.into(), number);
        Ok(())
    }

    async fn posted(&self, id: &str, number: u64) -> Result<Option<Vec<LinkName>>, StoreError> {
        self.reach()?;
        let posts = self.posts.lock().unwrap();
        Ok(posts.get(&(id.into(), number)).cloned())
    }

    async fn end_posts(&self, id: &str, _: u64) -> Result<(), StoreError> {
        self.last.lock().unwrap().remove(id);
        Ok(())
    }
}

fn name(code: &str) -> LinkName {
    LinkName::parse(&format!("{code}.s.example.com")).unwrap()
}

fn server(board: &Arc<Board>) -> Arc<Deniers> {
    let (exchange, metrics) = (Arc::new(Exchange::new()), Arc::new(Metrics::new()));
    Arc::new(Deniers::new(board.clone(), exchange, metrics))
}

/// A denier whose feed of changes is all right, and the names that it has taken.
struct Node {
    denier: Arc<Denier>,
    names: Arc<Mutex<Vec<LinkName>>>,
}

impl Node {
    fn new(board: &Arc<Board>) -> Self {
        let feed = Arc::new(Watch::unlooked(Instant::now(), LOOK_VALID_FOR));
        feed.note_look(Instant::now(), false);
        let names: Arc<Mutex<Vec<LinkName>>> = Arc::default();
        let taken = names.clone();
        let sink = move |name: &LinkName| taken.lock().unwrap().push(name.clone());
        let denier = Denier::new(server(board), feed, sink);
        Self {
            denier: Arc::new(denier),
            names,
        }
    }

    fn has(&self, code: &str) -> bool {
        self.names.lock().unwrap().contains(&name(code))
    }

    fn allows(&self, term: u64) -> bool {
        self.denier.allows(term, Instant::now())
    }

    /// Runs its tasks until it is dropped.
    fn run(&self) -> tokio_util::sync::DropGuard {
        let stop = CancellationToken::new();
        tokio::spawn(self.denier.clone().run(stop.clone()));
        stop.drop_guard()
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn without_leases_a_creation_costs_a_read_now_and_then() {
    let board = Arc::new(Board::default());
    let creator = server(&board);
    for n in 0..100 {
        creator.prepare().await;
        creator.await_filters(&name(&format!("c{n}"))).await;
    }
    assert_eq!(board.reads.load(Ordering::SeqCst), 1);
    assert!(board.posts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_filter_has_a_lease_for_longer_than_any_list_is_used() {
    let board = Arc::new(Board::default());
    let (creator, node) = (server(&board), Node::new(&board));
    let _running = node.run();
    // A list without the lease, as late as can be.
    creator.prepare().await;
    let listed = Instant::now();
    let term = node.denier.begin().await.unwrap();
    assert!(listed.elapsed() > LIST_FOR);
    assert!(creator.known(LIST_FOR).is_none(), "it has to be read again");
    assert_eq!(creator.list(LIST_FOR).await.unwrap().others.len(), 1);
    assert!(node.allows(term));
}

#[tokio::test]
async fn names_that_are_not_confirmed_are_posted_and_then_waited_for() {
    let board = Arc::new(Board::default());
    let (creator, node) = (server(&board), Node::new(&board));
    let _running = node.run();
    let term = node.denier.begin().await.unwrap();
    let began = Instant::now();
    let (one, two) = (name("one"), name("two"));
    tokio::join!(creator.await_filters(&one), creator.await_filters(&two));
    assert!(began.elapsed() > LOOK_VALID_FOR);
    assert!(node.has("one") && node.has("two"));
    assert!(node.allows(term), "its term lasts");
    assert!(board.posts.lock().unwrap().len() <= 2);
    assert_eq!(creator.metrics.filter_slow_creations.get(), 2);
}

#[tokio::test]
async fn whoever_cannot_read_the_leases_posts() {
    let board = Arc::new(Board::default());
    let creator = server(&board);
    board.away.store(true, Ordering::SeqCst);
    let back = async {
        pause(500).await;
        board.away.store(false, Ordering::SeqCst);
    };
    let one = name("one");
    tokio::join!(creator.await_filters(&one), back);
    assert_eq!(board.posts.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_creation_does_not_wait_for_ever() {
    let board = Arc::new(Board::default());
    let creator = server(&board);
    board.away.store(true, Ordering::SeqCst);
    let began = Instant::now();
    creator.await_filters(&name("one")).await;
    assert!(began.elapsed() < 2 * POST_TIME);
}

/// Something that happens to a board.
type Fault = fn(&Board);

/// What ends a term: after each of them the filter denies nothing, and the lease is no longer trusted.
#[tokio::test]
async fn a_filter_is_void_without_its_lease_and_with_posts_that_it_has_missed() {
    let faults: [(&str, Fault); 4] = [
        ("the lease is gone", |board| {
            board.leases.lock().unwrap().clear();
        }),
        ("a lower number", |board| {
            let mut leases = board.leases.lock().unwrap();
            leases.values_mut().for_each(|number| *number = 0);
        }),
        ("a post was replaced", |board| {
            board.last.lock().unwrap().insert("a".into(), 1);
        }),
        ("many posts", |board| {
            let mut posts = board.posts.lock().unwrap();
            (1..=90).for_each(|n| drop(posts.insert(("a".into(), n), vec![])));
            board.last.lock().unwrap().insert("a".into(), 90);
        }),
    ];
    for (what, cause) in faults {
        let board = Arc::new(Board::default());
        let node = Node::new(&board);
        let _running = node.run();
        let term = node.denier.begin().await.unwrap();
        assert!(node.allows(term) && node.denier.is_current(term), "{what}");
        cause(&board);
        pause(1_000).await;
        assert!(
            !node.allows(term) && !node.denier.is_current(term),
            "{what}"
        );
    }
}

#[tokio::test]
async fn a_filter_is_void_when_the_board_was_away_for_too_long() {
    let board = Arc::new(Board::default());
    let node = Node::new(&board);
    let _running = node.run();
    let term = node.denier.begin().await.unwrap();
    board.away.store(true, Ordering::SeqCst);
    pause(1_500).await;
    assert!(!node.allows(term), "the last look is too old");
    assert!(node.denier.is_current(term), "it may come back");
    board.away.store(false, Ordering::SeqCst);
    pause(500).await;
    assert!(node.allows(term));
    board.away.store(true, Ordering::SeqCst);
    pause(5_500).await;
    board.away.store(false, Ordering::SeqCst);
    pause(500).await;
    assert!(!node.allows(term) && !node.denier.is_current(term));
}

#[tokio::test]
async fn without_the_feed_of_changes_no_lease_is_kept() {
    let board = Arc::new(Board::default());
    let feed = Arc::new(Watch::unlooked(Instant::now(), LOOK_VALID_FOR));
    let denier = Arc::new(Denier::new(server(&board), feed, |_| ()));
    let stop = CancellationToken::new();
    tokio::spawn(denier.clone().run(stop.clone()));
    let _running = stop.drop_guard();
    assert!(denier.begin().await.is_err());
}

#[tokio::test]
async fn a_lease_is_given_back_and_taken_anew() {
    let board = Arc::new(Board::default());
    let node = Node::new(&board);
    let _running = node.run();
    let term = node.denier.begin().await.unwrap();
    assert_eq!(board.leases(), 1);
    node.denier.end().await;
    assert_eq!(board.leases(), 0);
    assert!(!node.allows(term));
    let next = node.denier.begin().await.unwrap();
    assert!(node.allows(next) && !node.allows(term));
}
