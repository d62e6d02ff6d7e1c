//! `tinyns store verify A B`: whether two stores have the same in them.
//!
//! Two stores have their links in different orders. So all links of the first are read page by page, and those of the second
//! by name; then all names of the second are looked up in the first. That needs the memory of a page.

use anyhow::bail;

use super::super::counter::Counter;
use super::super::output::{print, say};
use super::With;
use super::documents;
use super::entries::{Windows, load};
use super::findings::Findings;
use super::open::{InUse, Opened, Purpose, open};
use super::reads::{examine, read_many};
use super::statistics;
use crate::base::clock::{Clock, UnixTime};
use crate::base::progress::Extent;
use crate::base::text::one_line;
use crate::config::Config;
use crate::link::{Link, LinkName};
use crate::store::Store;
use crate::store::audit::Event;

/// Compares two stores.
pub(super) async fn two(first: &Config, second: &Config, with: With) -> anyhow::Result<()> {
    let wanted = documents::wanted(first, with);
    let first = open(first, Purpose::Read).await?;
    let second = open(second, Purpose::Read).await?;
    for Opened { facts, in_use, .. } in [&first, &second] {
        if *in_use == InUse::Yes {
            let place = one_line(&facts.place);
            say(&format!(
                "a server has {place} open, and may change it during the comparison"
            ));
        }
    }
    let (first, second) = (&*first.store, &*second.store);
    let mut found = Findings::default();
    links(first, second, &mut found).await?;
    more_links(first, second, &mut found).await?;
    for document in &wanted {
        if !documents::agree(first, second, document).await? {
            found.add_other(&format!("differs: the document {}", document.key))?;
        }
    }
    if with.audit {
        entries(first, second, &mut found).await?;
    }
    if with.statistics {
        statistics::compare(first, second, &mut found).await?;
    }
    let Findings {
        same,
        differ,
        only_first,
        only_second,
        ended,
        others,
        ..
    } = &found;
    let text = format!(
        "{same} links are the same, {differ} differ, {only_first} are only in A, {only_second} only in B; {ended} have \
         ended and are in one only"
    );
    match found.total() {
        0 => print(&format!("ok: {text}\n")),
        _ => bail!("the stores differ: {text}; {others} other differences"),
    }
}

/// Compares the links of the first store with those of the second.
async fn links(first: &dyn Store, second: &dyn Store, found: &mut Findings) -> anyhow::Result<()> {
    let now = Clock::default().now();
    let mut counter = counter("links compared", first).await;
    let mut after = None;
    loop {
        let page = examine(first, after.as_ref()).await?;
        let names: Vec<LinkName> = page.links.iter().map(|link| link.name.clone()).collect();
        let others = read_many(second, &names).await?;
        counter.add(page.links.len() as u64);
        counter.clear();
        for fault in &page.faults {
            found.add_other(&format!("fault in A: {fault}"))?;
        }
        for (link, other) in page.links.iter().zip(others) {
            let name = link.name.as_str();
            match other {
                Ok(Some(other)) if other == *link => found.same += 1,
                Ok(Some(other)) => {
                    found.differ += 1;
                    let fields = differing(link, &other).join(", ");
                    found.show(&format!("differs in {fields}: {name}"))?;
                }
                Ok(None) if link.is_expired(now) => found.ended += 1,
                Ok(None) => {
                    found.only_first += 1;
                    found.show(&format!("only in A: {name}"))?;
                }
                Err(error) => {
                    found.add_other(&format!("fault in B: {}", one_line(&error.to_string())))?
                }
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// Looks for links that only the second store has.
async fn more_links(
    first: &dyn Store,
    second: &dyn Store,
    found: &mut Findings,
) -> anyhow::Result<()> {
    let now: UnixTime = Clock::default().now();
    let mut counter = counter("links looked up", second).await;
    let mut after = None;
    loop {
        let page = examine(second, after.as_ref()).await?;
        let names: Vec<LinkName> = page.links.iter().map(|link| link.name.clone()).collect();
        let others = read_many(first, &names).await?;
        counter.add(page.links.len() as u64);
        counter.clear();
        for fault in &page.faults {
            found.add_other(&format!("fault in B: {fault}"))?;
        }
        for (link, other) in page.links.iter().zip(others) {
            match other {
                Ok(None) if link.is_expired(now) => found.ended += 1,
                Ok(None) => {
                    found.only_second += 1;
                    found.show(&format!("only in B: {}", link.name.as_str()))?;
                }
                // Compared already.
                Ok(Some(_)) | Err(_) => {}
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn counter(label: &'static str, store: &dyn Store) -> Counter {
    let extent = store
        .estimate()
        .await
        .map_or(Extent::Unknown, Extent::Count);
    Counter::new(label, extent)
}

/// The fields in which two links of one name differ.
fn differing(link: &Link, other: &Link) -> Vec<&'static str> {
    let fields = [
        ("url", link.target == other.target),
        ("created_at", link.created_at == other.created_at),
        ("created_by", link.created_by == other.created_by),
        ("expires_at", link.expires_at == other.expires_at),
        ("ttl", link.ttl == other.ttl),
        ("title", link.about.title() == other.about.title()),
        ("tags", link.about.tags() == other.about.tags()),
        ("note", link.about.note() == other.about.note()),
        ("destinations", link.destinations == other.destinations),
        ("withheld", link.withheld == other.withheld),
        ("version", link.version == other.version),
    ];
    let fields = fields.into_iter().filter(|(_, is_same)| !is_same);
    fields.map(|(field, _)| field).collect()
}

/// Compares the audit logs. Entries of the same millisecond may have another order, and other numbers.
async fn entries(
    first: &dyn Store,
    second: &dyn Store,
    found: &mut Findings,
) -> anyhow::Result<()> {
    let mut windows = Windows::until(Clock::default().millis());
    let (mut same, mut differ) = (0_u64, 0_u64);
    while let Some(window) = windows.current() {
        let (Some(ours), Some(theirs)) = (load(first, window).await?, load(second, window).await?)
        else {
            windows.divide();
            continue;
        };
        windows.advance(ours.len().max(theirs.len()));
        let mut ours: Vec<String> = ours.iter().map(|entry| shown(&entry.event)).collect();
        let mut theirs: Vec<String> = theirs.iter().map(|entry| shown(&entry.event)).collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
        loop {
            let (only_in, entry) = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(our), Some(their)) if our == their => {
                    same += 1;
                    drop((ours.next(), theirs.next()));
                    continue;
                }
                (Some(our), Some(their)) if our < their => ("A", ours.next()),
                (Some(_), None) => ("A", ours.next()),
                (_, Some(_)) => ("B", theirs.next()),
            };
            differ += 1;
            let entry = one_line(&entry.unwrap_or_default());
            found.add_other(&format!(
                "entry of the audit log only in {only_in}: {entry}"
            ))?;
        }
    }
    print(&format!(
        "audit log: {same} entries are the same, {differ} are in one only\n"
    ))
}

/// An entry in one line, which is the same for entries that are the same.
fn shown(event: &Event) -> String {
    format!(
        "{} {} {:?} {:?} {:?} {:?} {:?}",
        event.at.rfc3339(),
        event.action,
        event.object,
        event.actor.name,
        event.actor.address,
        event.actor.request_id,
        (&event.before, &event.after),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{About, TargetUrl, Version};

    #[test]
    fn a_difference_in_any_field_is_named() {
        let link = Link {
            name: LinkName::parse("a.s.example.com").unwrap(),
            target: TargetUrl::parse("https://example.net/").unwrap(),
            created_at: UnixTime(1),
            created_by: "ann".into(),
            expires_at: None,
            ttl: None,
            about: About::default(),
            destinations: None,
            withheld: None,
            version: Version(7),
        };
        assert_eq!(differing(&link, &link.clone()), Vec::<&str>::new());
        let other = Link {
            created_at: UnixTime(2),
            expires_at: Some(UnixTime(9)),
            version: Version(8),
            ..link.clone()
        };
        assert_eq!(
            differing(&link, &other),
            ["created_at", "expires_at", "version"]
        );
    }
}
