//! What the tests of this store's files share.

use rusqlite::Connection;

use super::audit::Log;
use super::{migrations, schema};
use crate::base::clock::UnixTime;
use crate::link::{Link, LinkName, TargetUrl};
use crate::store::{Created, NewLink};

/// No audit log.
pub(super) const LOG: Log = Log { retention: None };

/// A database in memory with the tables of a store.
pub(super) fn conn() -> Connection {
    let mut conn = Connection::open_in_memory().unwrap();
    schema::migrate(&mut conn, migrations::MIGRATIONS, &|_| {}).unwrap();
    conn
}

/// The name of a link of `s.example.com`.
pub(super) fn name(code: &str) -> LinkName {
    LinkName::parse(&format!("{code}.s.example.com")).unwrap()
}

/// A link to be made; `expires_at` is in seconds since 1970.
pub(super) fn new(code: &str, path: &str, expires_at: Option<u64>) -> NewLink {
    NewLink {
        name: name(code),
        target: TargetUrl::parse(&format!("https://example.net/{path}")).unwrap(),
        created_by: "test".into(),
        expires_at: expires_at.map(UnixTime),
        ttl: None,
        about: crate::link::About::default(),
        destinations: None,
        withheld: None,
    }
}

/// The link that was made.
pub(super) fn made(created: Created) -> Link {
    match created {
        Created::New(link) => link,
        other => panic!("not new: {other:?}"),
    }
}
