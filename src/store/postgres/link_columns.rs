//! Links as the statements that write many of them take them: column by column.

use tokio_postgres::types::ToSql;

use crate::base::clock::UnixTime;
use crate::link::{About, Destinations, Link, LinkName, Note, TargetUrl, Title, Ttl, Withheld};
use crate::store::columns::{destinations_text, integer, tags_text, withheld_text};
use crate::store::{NewLink, StoreError, seconds};

/// A link, or one that is to be made.
pub(super) struct Written<'a> {
    name: &'a LinkName,
    target: &'a TargetUrl,
    created_at: UnixTime,
    created_by: &'a str,
    expires_at: Option<UnixTime>,
    ttl: Option<Ttl>,
    /// The version, or the lowest one that a new link may get.
    version: u64,
    about: &'a About,
    withheld: Option<&'a Withheld>,
    destinations: Option<&'a Destinations>,
}

impl<'a> Written<'a> {
    /// A link as it is.
    pub(super) fn link(link: &'a Link) -> Self {
        Self {
            name: &link.name,
            target: &link.target,
            created_at: link.created_at,
            created_by: &link.created_by,
            expires_at: link.expires_at,
            ttl: link.ttl,
            version: link.version.0,
            about: &link.about,
            withheld: link.withheld.as_deref(),
            destinations: link.destinations.as_deref(),
        }
    }

    /// A link that is made now.
    pub(super) fn new(new: &'a NewLink, version: u64, now_micros: u64) -> Self {
        Self {
            name: &new.name,
            target: &new.target,
            created_at: seconds(now_micros),
            created_by: &new.created_by.name,
            expires_at: new.expires_at,
            ttl: new.ttl,
            version,
            about: &new.about,
            withheld: new.withheld.as_deref(),
            destinations: new.destinations.as_deref(),
        }
    }
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct LinkColumns<'a> {
    origin: Vec<&'a str>,
    code: Vec<&'a str>,
    url: Vec<&'a str>,
    created_at: Vec<i64>,
    created_by: Vec<&'a str>,
    expires_at: Vec<Option<i64>>,
    ttl: Vec<Option<i32>>,
    version: Vec<i64>,
    title: Vec<Option<&'a str>>,
    tags: Vec<Option<String>>,
    note: Vec<Option<&'a str>>,
    withheld: Vec<Option<String>>,
    destinations: Vec<Option<String>>,
}

impl<'a> LinkColumns<'a> {
    pub(super) fn push(&mut self, link: Written<'a>) -> Result<(), StoreError> {
        self.origin.push(link.name.origin());
        self.code.push(link.name.code());
        self.url.push(link.target.as_str());
        self.created_at.push(integer(link.created_at.0)?);
        self.created_by.push(link.created_by);
        let end = link.expires_at.map(|end| integer(end.0));
        self.expires_at.push(end.transpose()?);
        self.ttl.push(link.ttl.map(ttl_column));
        self.version.push(integer(link.version)?);
        self.title.push(link.about.title().map(Title::as_str));
        self.tags.push(tags_text(link.about.tags()));
        self.note.push(link.about.note().map(Note::as_str));
        self.withheld.push(withheld_text(link.withheld));
        self.destinations
            .push(destinations_text(link.destinations, Some(link.created_at)));
        Ok(())
    }

    /// `$1` to `$13`.
    pub(super) fn parameters(&self) -> [&(dyn ToSql + Sync); 13] {
        [
            &self.origin,
            &self.code,
            &self.url,
            &self.created_at,
            &self.created_by,
            &self.expires_at,
            &self.ttl,
            &self.version,
            &self.title,
            &self.tags,
            &self.note,
            &self.withheld,
            &self.destinations,
        ]
    }
}

/// A TTL as the table keeps it.
pub(super) fn ttl_column(ttl: Ttl) -> i32 {
    // At most a week.
    i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX)
}
