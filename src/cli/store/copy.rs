//! `tinyns store copy FROM TO`: a store into another one, as it is.
//!
//! There is no record of how far a copy came. Each run reads all links of both stores, and writes those that are missing or
//! older in the second: reading is cheap, and a record would miss what has changed since.

use anyhow::{Context, bail};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::super::counter::Counter;
use super::super::output::{print, say};
use super::super::stop::Stop;
use super::super::transfer::unless_stopped;
use super::With;
use super::documents::{self, Outcome};
use super::entries::{Windows, load};
use super::open::{InUse, Opened, Purpose, open};
use super::reads::{examine, insist, read_many};
use super::statistics;
use crate::base::clock::Clock;
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::config::Config;
use crate::link::{Link, LinkName};
use crate::store::{Adopted, Store, StoreError};

/// How many writes are under way at the same time.
const AT_ONCE: usize = 96;
/// How many links are named that are not copied.
const MAX_SHOWN: u64 = 20;

/// What became of links or entries.
#[derive(Debug, Default)]
struct Counts {
    written: u64,
    same: u64,
    newer: u64,
    faults: u64,
}

impl Counts {
    fn add(&mut self, adopted: Adopted) {
        match adopted {
            Adopted::Written => self.written += 1,
            Adopted::Same => self.same += 1,
            Adopted::Newer => self.newer += 1,
        }
    }

    fn left(&self) -> u64 {
        self.newer + self.faults
    }

    /// Whether one more of those that are not copied is shown.
    fn shows(&self) -> bool {
        self.left() <= MAX_SHOWN
    }
}

/// Copies a store.
pub(super) async fn all(from: &Config, to: &Config, with: With) -> anyhow::Result<()> {
    let mut stop = Stop::new().context("cannot handle signals")?;
    let same = "FROM and TO are the same store";
    // Before the first of them is locked.
    if from.store == to.store {
        bail!("{same}");
    }
    let wanted = documents::wanted(from, with);
    let keeping = to.statistics.as_ref().map(|config| config.keeping);
    let keeping = keeping.unwrap_or_default();
    let from = open(from, Purpose::Read).await?;
    let to = open(to, Purpose::Fill).await?;
    if (&from.facts.id, &from.facts.place) == (&to.facts.id, &to.facts.place) {
        bail!("{same}: {}", one_line(&to.facts.place));
    }
    warn(&from);
    let work = async {
        let (from, to) = (&*from.store, &*to.store);
        let mut left = links(from, to).await?;
        for document in &wanted {
            left += u64::from(!copy_document(from, to, document).await?);
        }
        if with.audit {
            left += entries(from, to).await?;
        }
        if with.statistics {
            left += statistics::copy(from, to, keeping).await?;
        }
        Ok(left)
    };
    let left = unless_stopped(&mut stop, Box::pin(work)).await;
    to.store.close().await;
    match left.context("the copy is not complete; run the command again, and it goes on")? {
        0 => Ok(()),
        left => bail!(
            "{left} links, documents, entries or sums were not copied: they cannot be read, or {} has a later state",
            one_line(&to.facts.place)
        ),
    }
}

/// Says that servers may change what is copied.
fn warn(from: &Opened) {
    let place = one_line(&from.facts.place);
    match from.in_use {
        InUse::No => {}
        InUse::Yes => say(&format!(
            "a server has {place} open: stop it, and run the command once more before TO goes into service"
        )),
        InUse::Unknown => say(&format!(
            "servers that share {place} may change it: stop them, and run the command once more before TO goes into \
             service"
        )),
    }
}

/// Copies all links, and returns how many were not.
async fn links(from: &dyn Store, to: &dyn Store) -> anyhow::Result<u64> {
    let extent = from.estimate().await.map_or(Extent::Unknown, Extent::Count);
    let mut counter = Counter::new("links copied", extent);
    let mut counts = Counts::default();
    let mut after = None;
    loop {
        let page = examine(from, after.as_ref()).await?;
        for fault in &page.faults {
            counts.faults += 1;
            if counts.shows() {
                counter.clear();
                say(&format!("not copied: {fault}"));
            }
        }
        let missing = missing(to, &page.links, &mut counts).await?;
        for (link, adopted) in missing.iter().zip(adopt(to, &missing).await?) {
            counts.add(adopted);
            if adopted == Adopted::Newer && counts.shows() {
                counter.clear();
                say(&format!(
                    "not copied, TO has a later state or a later deletion: {}",
                    link.name.as_str()
                ));
            }
        }
        counter.add(page.links.len() as u64);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    counter.clear();
    let Counts { written, same, .. } = counts;
    let left = counts.left();
    print(&format!(
        "links: {written} copied, {same} were there already, {left} not copied\n"
    ))?;
    Ok(left)
}

/// The links that the other store does not have as they are. Counts the others.
async fn missing(
    to: &dyn Store,
    links: &[Link],
    counts: &mut Counts,
) -> Result<Vec<Link>, StoreError> {
    let names: Vec<LinkName> = links.iter().map(|link| link.name.clone()).collect();
    let found = read_many(to, &names).await?;
    let mut missing = Vec::new();
    for (link, found) in links.iter().zip(found) {
        match found {
            Ok(Some(found)) if found == *link => counts.same += 1,
            // A damaged link is reported when it is to be replaced.
            _ => missing.push(link.clone()),
        }
    }
    Ok(missing)
}

/// Writes links together, and those again that failed, one by one.
async fn adopt(to: &dyn Store, links: &[Link]) -> Result<Vec<Adopted>, StoreError> {
    let written = stream::iter(links).zip(stream::iter(to.adopt_many(links).await));
    let written = written.map(|(link, adopted)| async move {
        match adopted {
            Ok(adopted) => Ok(adopted),
            Err(_) => insist(|| to.adopt(link)).await,
        }
    });
    written.buffered(AT_ONCE).try_collect().await
}

/// Copies a document. False if the other store has changed its own.
async fn copy_document(
    from: &dyn Store,
    to: &dyn Store,
    document: &documents::Wanted,
) -> anyhow::Result<bool> {
    let outcome = documents::copy(from, to, document).await?;
    let outcome = match (outcome, document.changes_by_itself) {
        (Outcome::Kept, true) => Outcome::Same,
        (outcome, _) => outcome,
    };
    let key = &document.key;
    let text = match outcome {
        Outcome::Copied => "copied",
        Outcome::Same => "was there already",
        Outcome::None => return Ok(true),
        Outcome::Kept => "not copied, TO has changed its own",
    };
    print(&format!("document {key}: {text}\n"))?;
    Ok(outcome != Outcome::Kept)
}

/// Copies the audit log, and returns how many entries were not copied.
async fn entries(from: &dyn Store, to: &dyn Store) -> anyhow::Result<u64> {
    let mut counter = Counter::new("entries copied", Extent::Unknown);
    let mut windows = Windows::until(Clock::default().millis());
    let mut counts = Counts::default();
    while let Some(window) = windows.current() {
        let Some(entries) = load(from, window).await? else {
            windows.divide();
            continue;
        };
        windows.advance(entries.len());
        // In their order, which a store may keep.
        let writes = stream::iter(&entries).map(|entry| insist(|| to.adopt_entry(entry)));
        let mut writes = writes.buffered(AT_ONCE);
        while let Some(adopted) = writes.try_next().await? {
            counts.add(adopted);
        }
        counter.add(entries.len() as u64);
    }
    counter.clear();
    let Counts { written, same, .. } = counts;
    let left = counts.left();
    print(&format!(
        "audit log: {written} entries copied, {same} were there already, {left} not copied\n"
    ))?;
    Ok(left)
}
