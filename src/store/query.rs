//! What a list of links is asked for: filters and an order.
//!
//! A query is the same for all stores. A store with indexes finds the links by them; another one reads all links of the
//! zone and keeps those that [`Query::matches`]. In either case the work for one page is bounded, so a page may have few
//! links, or none, although more follow.

use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, Origin, Tag};

use super::{Page, StoreError};

/// The most characters of a text to search for.
const MAX_TEXT: usize = 100;

/// Which links of a zone to list, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The zone.
    pub origin: Origin,
    /// A text that the code, a URL or the title contains.
    pub text: Option<SearchText>,
    /// A tag that the link has.
    pub tag: Option<Tag>,
    /// The host of the destination, of several the preferred one, as [`TargetUrl::host`](crate::link::TargetUrl::host) returns it.
    pub host: Option<Box<str>>,
    /// The name of the creator.
    pub created_by: Option<Box<str>>,
    /// The state of the link; none for all.
    pub state: Option<State>,
    /// The order.
    pub order: Order,
    /// The time that decides whether a link has ended.
    pub now: UnixTime,
}

/// A state of links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The link has not ended: it is live or withheld.
    Current,
    /// The link is served.
    Live,
    /// The link has not ended, and is withheld.
    Withheld,
    /// The link has ended, and the store still has it.
    Ended,
}

/// The order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By code, or in the order of the store if it has no other one.
    Code,
    /// By the time of creation, and by code within a second; the newest first.
    Newest,
    /// The same in reverse; the oldest first.
    Oldest,
}

/// A text to search for, without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchText {
    /// In lower case.
    lower: Box<str>,
}

/// Why a text is no [`SearchText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchTextError {
    /// It has no character.
    #[error("the text to search for is empty")]
    Empty,
    /// It is too long.
    #[error("the text to search for has {0} characters; at most {MAX_TEXT} are accepted")]
    TooLong(usize),
    /// A control character, which no code, URL or title has.
    #[error("the text to search for has the control character U+{0:04X}, which no link has")]
    ControlCharacter(u32),
}

/// How far a list has come: after this link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The time of its creation.
    pub created_at: UnixTime,
    /// Its name; a store without an order of its own may use one of another zone.
    pub name: LinkName,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The links; there may be none although more pages follow.
    pub links: Vec<Link>,
    /// The start of the next page; none if this is the last one.
    pub next: Option<Place>,
}

impl SearchText {
    /// A text to search for.
    ///
    /// # Errors
    /// [`SearchTextError`] says which rule the text breaks.
    pub fn parse(text: &str) -> Result<Self, SearchTextError> {
        match text.chars().count() {
            0 => Err(SearchTextError::Empty),
            1..=MAX_TEXT => match text.chars().find(|c| c.is_control()) {
                None => Ok(Self {
                    lower: text.to_lowercase().into(),
                }),
                Some(c) => Err(SearchTextError::ControlCharacter(c.into())),
            },
            found => Err(SearchTextError::TooLong(found)),
        }
    }

    /// The text in lower case.
    pub fn as_str(&self) -> &str {
        &self.lower
    }

    /// Whether `text` contains it.
    pub fn is_in(&self, text: &str) -> bool {
        if !text.is_ascii() {
            return text.to_lowercase().contains(&*self.lower);
        }
        // Without a copy: most texts are codes and URLs, and a page may look at thousands of them.
        let wanted = self.lower.as_bytes();
        let mut parts = text.as_bytes().windows(wanted.len());
        parts.any(|part| part.eq_ignore_ascii_case(wanted))
    }
}

impl Query {
    /// All links of a zone, also those that have ended, by code.
    pub fn all(origin: Origin) -> Self {
        Self {
            origin,
            text: None,
            tag: None,
            host: None,
            created_by: None,
            state: None,
            order: Order::Code,
            now: UnixTime(0),
        }
    }

    /// Whether it has a filter, apart from the state.
    pub fn has_filter(&self) -> bool {
        self.text.is_some()
            || self.tag.is_some()
            || self.host.is_some()
            || self.created_by.is_some()
    }

    /// Whether the query asks for this link.
    pub fn matches(&self, link: &Link) -> bool {
        let has_text = |text: &SearchText| {
            let title = link.about.title();
            text.is_in(link.name.code())
                || link.ranked().any(|(url, _)| text.is_in(url.as_str()))
                || title.is_some_and(|title| text.is_in(title.as_str()))
        };
        self.has_state(link.expires_at, link.withheld.is_some())
            && link.name.origin() == self.origin.as_str()
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| link.about.tags().contains(tag))
            && self
                .host
                .as_deref()
                .is_none_or(|host| link.target.host() == host)
            && self
                .created_by
                .as_deref()
                .is_none_or(|name| &*link.created_by == name)
            && self.text.as_ref().is_none_or(has_text)
    }

    /// Whether the query asks for links that end then, and are withheld or not.
    pub fn has_state(&self, expires_at: Option<UnixTime>, is_withheld: bool) -> bool {
        let has_ended = expires_at.is_some_and(|end| end <= self.now);
        match self.state {
            Some(State::Current) => !has_ended,
            Some(State::Live) => !has_ended && !is_withheld,
            Some(State::Withheld) => !has_ended && is_withheld,
            Some(State::Ended) => has_ended,
            None => true,
        }
    }

    /// The links of a page that the query asks for.
    pub(super) fn filtered(&self, page: Page) -> Found {
        let links = page.links.into_iter().filter(|link| self.matches(link));
        let place = |name| Place {
            created_at: UnixTime(0),
            name,
        };
        Found {
            links: links.collect(),
            next: page.next.map(place),
        }
    }
}

/// Calls [`Store::list`](super::Store::list) for a query: for stores without indexes.
pub(super) async fn by_list<S: super::Store + ?Sized>(
    store: &S,
    query: &Query,
    after: Option<&Place>,
    limit: usize,
) -> Result<Found, StoreError> {
    let after = after.map(|place| &place.name);
    let page = store.list(&query.origin, after, limit).await?;
    Ok(query.filtered(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_without_regard_to_case() {
        let check = |text: &str, within: &str, found: bool| {
            let text = SearchText::parse(text).unwrap();
            assert_eq!(text.is_in(within), found, "{text:?} in {within:?}");
        };
        check("SALE", "https://example.net/Autumn-sale", true);
        check("ärger", "viel ÄRGER hier", true);
        check("%", "100 %", true);
        check("%", "https://example.net/", false);
        check("_", "a-b", false);
        check("ä", "abc", false);
        check("abcd", "abc", false);
        check("東京", "in 東京都", true);
    }

    #[test]
    fn texts_are_bounded() {
        assert_eq!(SearchText::parse(""), Err(SearchTextError::Empty));
        assert!(SearchText::parse(&"ü".repeat(100)).is_ok());
        assert_eq!(
            SearchText::parse(&"ü".repeat(101)),
            Err(SearchTextError::TooLong(101))
        );
        assert_eq!(
            SearchText::parse("a\0"),
            Err(SearchTextError::ControlCharacter(0))
        );
    }
}
