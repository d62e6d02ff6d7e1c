//! `tinyns store verify` of one store: whether all that is in it can be read.

use std::fmt::Write as _;

use anyhow::bail;

use super::super::counter::Counter;
use super::super::output::{print, say};
use super::documents;
use super::entries::{Windows, load};
use super::open::{InUse, Opened, Purpose, open};
use super::reads::{examine, insist};
use super::statistics;
use crate::access::{TOKEN_LIST, Tokens};
use crate::base::clock::Clock;
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::config::Config;
use crate::store::{Store, StoreError};

/// How many faults are shown.
const MAX_SHOWN: u64 = 20;

/// Faults: the first ones are shown when they are found, and all of them counted.
#[derive(Debug, Default)]
struct Faults(u64);

impl Faults {
    fn add(&mut self, text: &str) -> anyhow::Result<()> {
        self.0 += 1;
        match self.0 {
            ..=MAX_SHOWN => print(&format!("fault: {text}\n")),
            _ => Ok(()),
        }
    }
}

/// Checks a store.
pub(super) async fn one(config: &Config) -> anyhow::Result<()> {
    let Opened {
        store,
        facts,
        in_use,
    } = open(config, Purpose::Read).await?;
    if in_use == InUse::Yes {
        say("a server has the store open, and may change it during the check");
    }
    let store = &*store;
    let mut faults = Faults::default();
    let links = links(store, &mut faults).await?;
    let tokens = match documents::read(store, TOKEN_LIST).await? {
        None => 0,
        Some(document) => match Tokens::in_document(&document.content) {
            Ok(tokens) => tokens.len(),
            Err(error) => {
                faults.add(&one_line(&error.to_string()))?;
                0
            }
        },
    };
    let entries = entries(store).await?;
    let sums = statistics::check(store).await?;
    for fault in sums.iter().flat_map(|(_, faults)| faults) {
        faults.add(fault)?;
    }
    for fault in insist(|| store.check_integrity()).await? {
        faults.add(&fault)?;
    }
    let mut text = format!("{}: {links} links, {tokens} tokens", one_line(&facts.place));
    // Writing to a String does not fail.
    match entries {
        Some(entries) => drop(write!(text, ", {entries} entries of the audit log")),
        None => text.push_str(", no audit log"),
    }
    if let Some((sums, _)) = sums {
        text.push_str(&format!(", {sums} sums of statistics"));
    }
    match faults.0 {
        0 => print(&format!("ok: {text}\n")),
        number => bail!("{text}; {number} faults"),
    }
}

/// Reads all links, and returns their number.
async fn links(store: &dyn Store, faults: &mut Faults) -> anyhow::Result<u64> {
    let extent = store
        .estimate()
        .await
        .map_or(Extent::Unknown, Extent::Count);
    let mut counter = Counter::new("links read", extent);
    let mut after = None;
    loop {
        let page = examine(store, after.as_ref()).await?;
        counter.add(page.links.len() as u64);
        for fault in &page.faults {
            counter.clear();
            faults.add(fault)?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    counter.clear();
    Ok(counter.done())
}

/// Reads the audit log, and returns the number of its entries; none if there is no log.
async fn entries(store: &dyn Store) -> Result<Option<u64>, StoreError> {
    let mut windows = Windows::until(Clock::default().millis());
    let mut total = 0;
    while let Some(window) = windows.current() {
        match load(store, window).await {
            Ok(None) => windows.divide(),
            Ok(Some(entries)) => {
                total += entries.len() as u64;
                windows.advance(entries.len());
            }
            Err(StoreError::Refused(_)) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(total))
}
